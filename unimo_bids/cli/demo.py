"""`unimo-bids-demo`: a small BIDS dataset with known motion; and the app on it, for `make demo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimo_bids.cli.guard import guarded

if TYPE_CHECKING:
    from unimo_bids.simulation import SimulatedSeries

_FEWEST_FRAMES = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit codes as `unimo-bids`."""
    arguments = build_parser().parse_args(argv)
    return guarded(lambda: _demonstrate(arguments), debug=arguments.debug)


def build_parser() -> argparse.ArgumentParser:
    """Declare all options."""
    parser = argparse.ArgumentParser(
        prog="unimo-bids-demo",
        description="Simulate a fetus and an adult, two sessions each, as a BIDS dataset with the "
        "true poses in sourcedata/truth and brain masks in derivatives/masks.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the dataset")
    parser.add_argument(
        "--frames", metavar="N", type=_frames, default=40, help="in each run (default: 40)"
    )
    parser.add_argument("--seed", type=int, default=1, help="other heads, other motion")
    parser.add_argument(
        "--run",
        metavar="OUT_DIR",
        type=Path,
        help="then run unimo-bids on it, and compare the poses with the truth",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _frames(text: str) -> int:
    if text.isdecimal() and int(text) >= _FEWEST_FRAMES:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {_FEWEST_FRAMES} on")


def _demonstrate(arguments: argparse.Namespace) -> int:
    from unimo_bids.simulation import write_bids_dataset, write_mask_dataset

    print(f"simulating 4 runs of {arguments.frames} frames", file=sys.stderr)
    runs = _simulated(arguments.frames, arguments.seed)
    about = {
        "01": {"gestational_age": 30, "age": "n/a"},
        "02": {"gestational_age": "n/a", "age": 27},
    }
    dataset = write_bids_dataset(arguments.folder, runs, participants=about)
    write_mask_dataset(dataset / "derivatives" / "masks", runs)
    if arguments.run is None:
        print(dataset)
        return 0
    from unimo_bids.cli.run import main as unimo_bids

    places = [str(dataset), str(arguments.run)]
    code = unimo_bids([*places, "participant", "--work-dir", f"{arguments.run}-work"])
    if code == 0:
        print(_table(runs, arguments.run))
        code = unimo_bids([*places, "group"])
        print(*sorted(arguments.run.glob("sub-*.html")), sep="\n")
    return code


def _simulated(frames: int, seed: int) -> dict[str, SimulatedSeries]:
    from unimo_bids import simulation
    from unimo_bids.simulation import artefacts, kinematics, simulate

    fetus = simulation.fetal_head(weeks=30, seed=seed)
    womb, adult = simulation.fetal_surroundings(seed=seed), simulation.adult_head()
    runs = {}
    for session in (1, 2):
        noise = (artefacts.RicianNoise(sigma=1000 / 40),)
        severity = "typical" if session == 1 else "severe"
        motion = (0.3, 0.3) if session == 1 else (2.0, 2.0)  # mm, degrees
        runs[f"sub-01_ses-{session}_task-rest"] = simulate(
            fetus,
            kinematics.synthetic_fetal(frames, severity, seed=seed + session),
            shape=(72, 72, 36),
            voxel_sizes=(3.0, 3.0, 4.0),
            surroundings=womb,
            artefacts=noise,
            repetition_time=2.5,
            seed=seed + session,
        )
        runs[f"sub-02_ses-{session}_task-rest"] = simulate(
            adult,
            kinematics.smooth_with_spikes(frames, *motion, seed=seed + session),
            shape=(64, 64, 36),
            voxel_sizes=(3.5, 3.5, 4.0),
            artefacts=noise,
            repetition_time=2.0,
            seed=seed + 10 * session,
        )
    return runs


def _table(runs: Mapping[str, SimulatedSeries], out_dir: Path) -> str:
    """Compare poses with the truth: how far they are apart, on average over the brain, mm."""
    import numpy as np

    from unimo_bids.bids.names import parse_series, run_names
    from unimo_bids.files.transforms import read_itk

    title = "mean displacement of the brain, mm"
    lines = [f"{title:<44}{'median':>9}{'p95':>9}{'max':>9}"]
    for name, truth in runs.items():
        folder = Path(*name.split("_task")[0].split("_"), "func")
        entities = parse_series(folder / f"{name}_bold.nii.gz")
        assert entities is not None
        found = read_itk(out_dir / run_names(entities).transforms)
        reference = int(np.argmin([abs(pose - np.eye(4)).max() for pose in found]))
        true = truth.poses @ np.linalg.inv(truth.poses[reference])
        rest = np.broadcast_to(np.eye(4), true.shape)
        points = truth.brain_points @ truth.poses[reference][:3, :3].T
        points = points + truth.poses[reference][:3, 3]
        for what, poses in (("motion", rest), ("error", found)):
            apart = _mean_displacement(poses, true, points)
            numbers = (*np.percentile(apart, (50, 95)), apart.max())
            lines.append(f"{f'{name}, {what}':<44}" + "".join(f"{x:9.3f}" for x in numbers))
    return "\n".join(lines)


def _mean_displacement(poses: Any, true: Any, points: Any) -> Any:
    import torch

    from unimo_bids.spatial import rigid

    tensors = [torch.as_tensor(array.copy()) for array in (poses, true, points)]
    return rigid.displacement(*tensors).mean(dim=-1).numpy()


if __name__ == "__main__":
    sys.exit(main())
