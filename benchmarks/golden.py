"""Golden runs: fingerprints of what the commands write, to be the same before and after a change.

Run it before and after, on one machine; numbers of another processor differ in the last digits.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

# paths, times and versions may differ
_OF_THE_CALL = {"version", "settings", "runtime_s", "fixed", "moving"}
_LEFT_OUT = {"figures", "log", "logs", "dataset_description.json"}
_RUN = "import sys; from unimo_bids.cli.{} import main; sys.exit(main())"


def run(data: Path, out: Path, before: Path | None) -> int:
    """Run all cases, write their fingerprints, and compare them with those of another time.

    Parameters
    ----------
    data
        Development data; cases without theirs are left out.
    out
        JSON file of the fingerprints.
    before
        One that an earlier call has written.
    """
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (command, arguments) in _cases(data, Path(folder)).items():
            print(name, file=sys.stderr, flush=True)
            here = Path(folder) / name
            _call(command, *arguments)
            found |= {f"{name}/{path}": one for path, one in fingerprints(here).items()}
    out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    if before is None:
        return 0
    known = json.loads(before.read_text())
    differ = sorted(path for path in {*known, *found} if known.get(path) != found.get(path))
    for path in differ:
        what = "differs" if path in known and path in found else "is in one only"
        print(f"{path} {what}")
    print(f"{len(found)} files, {len(differ)} differ")
    return 1 if differ else 0


def _cases(data: Path, folder: Path) -> Mapping[str, tuple[str, list[str]]]:
    """The command and the arguments of each case; it writes to a folder of its name."""
    demo = folder / "bids"
    onto = ["--participant-label", "02", "--reference", "3"]
    cases = {
        name: ("run", [str(demo), str(folder / name), "participant", *more])
        for name, more in (("app", []), ("app-onto-reference", onto))
    }
    series = {
        "contrast": (data / "phantom" / "contrast-head-s11" / "bold.nii.gz", "none"),
        "womb": (data / "phantom" / "womb-brain-s11" / "bold.nii.gz", "auto"),
        "typical": (data / "semireal" / "inutero-typical-c2" / "bold.nii.gz", "auto"),
        "severe": (data / "semireal" / "inutero-severe-c0" / "bold.nii.gz", "auto"),
        "rest": (data / "epi/sub-feedsmoved/func/sub-feedsmoved_task-rest_bold.nii.gz", "auto"),
    }
    for name, (path, brain) in series.items():
        arguments = [str(path), str(folder / name), "--brain-extraction", brain, "--no-figure"]
        cases[name] = ("correct", arguments)
    stack = [str(data / "fetal_epi" / f"ep2d_{number}.nii.gz") for number in (29, 30)]
    cases["mask"] = ("mask", [stack[1], str(folder / "mask" / "mask.nii.gz")])
    cases["register"] = ("register", [*stack, str(folder / "register" / "pair")])
    there = {
        name: case for name, case in cases.items() if name[:3] == "app" or Path(case[1][0]).exists()
    }
    _call("demo", str(demo), "--frames", "12")
    for name in there:
        (folder / name).mkdir()
    return there


def _call(command: str, *arguments: str) -> None:
    code = _RUN.format(command)
    if command == "run":
        arguments = (*arguments, "--work-dir", f"{arguments[1]}-work", "--nprocs", "1")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False, env=environment)
    if done.returncode not in {0, 4}:  # 4: a pose that is doubted
        raise RuntimeError(f"{command} {' '.join(arguments)} ended with {done.returncode}")


def fingerprints(folder: Path) -> dict[str, str]:
    """Of what every file in a folder says, without what differs from call to call."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix in {".gz", ".npy", ".tsv", ".txt", ".json"} and not (
            _LEFT_OUT & {*inside.parts}
        ):
            found[str(inside)] = hashlib.sha256(_content(path)).hexdigest()[:16]
    return found


def _content(path: Path) -> bytes:
    if path.suffix == ".gz":
        image = nib.load(path)
        return np.asanyarray(image.dataobj).tobytes() + image.affine.tobytes()
    if path.suffix == ".json":
        said: Any = json.loads(path.read_text())
        if isinstance(said, dict):
            said = {key: one for key, one in said.items() if key not in _OF_THE_CALL}
        return json.dumps(said, sort_keys=True).encode()
    return path.read_bytes()
