"""Files as nobody should write them, and what the commands make of each.

All in forks of one process that has imported everything. The same seed gives the same files.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np

from tests import phantom

SHAPE, FRAMES = (14, 14, 10), 4
_SECONDS = 30
_FORK = 20  # files in each: to fork takes as long as half a dozen of them
_NUMBERS = (0, 1, -1, 2, 3, 7, 99, 255, 1e-30, 1e-3, 0.1, 30, 1e4, 1e9, 1e30, np.nan, np.inf)
_OFFSETS = (0, 1, 347, 348, 352.5, 368, 400, 1e6, 1e30, np.nan)


@dataclass(frozen=True)
class Ending:
    """How a command ended on a file; `fault` says what is wrong with that, None if nothing is."""

    name: str
    code: int
    err: str
    fault: str | None


def _fault(code: int, err: str, written: list[Path]) -> str | None:
    """Neither a refusal in a sentence, nor outputs that can be used."""
    if "Traceback" in err:
        return f"a traceback: {err.splitlines()[-1]}"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if code:
        last = (err.splitlines() or [""])[-1]
        sentence = last.startswith("error: ") and last.endswith(".")
        return None if sentence and not written else f"no refusal: {last}"
    images = [path for path in written if path.name.endswith(".nii.gz")]
    return next((f"{path.name}: {why}" for path in images if (why := _unusable(path))), None)


def _unusable(path: Path) -> str | None:
    try:
        image = nib.loadsave.load(path)
        finite = np.isfinite(image.get_fdata()).all() and np.isfinite(image.affine).all()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if finite else "not finite"


@cache
def healthy(volumes: int = FRAMES) -> bytes:
    """A head that moves a little, as a file in memory; one volume is 3D."""
    random = np.random.default_rng(0)
    affine = phantom.grid_affine((8.0, 8.0, 9.0), shape=SHAPE)
    poses = [phantom.pose((2.0 * t, 0, 0), (0.5 * t, 0, 0)) for t in range(volumes)]
    frames = [phantom.volume(pose, affine, SHAPE).numpy() for pose in poses]
    data = 10 * np.stack(frames, axis=-1)
    data = np.rint(np.abs(data + random.normal(0, 6, data.shape))).astype(np.int16)
    image = nib.Nifti1Image(data if volumes > 1 else data[..., 0], affine.numpy())
    image.header.set_xyzt_units("mm", "sec")
    if volumes > 1:
        image.header.set_zooms((*image.header.get_zooms()[:3], 2.0))
    image.header["qform_code"] = 1
    return bytes(image.to_bytes())


def mutated(number: int, seed: int, volumes: int = FRAMES) -> Iterator[tuple[str, bytes]]:
    """Name and content of so many files, mutated at random."""
    whole = healthy(volumes)
    random = np.random.default_rng(seed)
    kinds = [_fields, _fields, _fields, _bits, _cut] + ([_values] if volumes == FRAMES else [])
    for index in range(number):
        kind = kinds[index % len(kinds)]
        name, content = kind(whole, random)
        compressed = random.random() < 0.2
        if compressed:
            content = gzip.compress(content, 1, mtime=0)
            if random.random() < 0.3:
                content = _flipped(content, random, 1)
        yield f"{index:03d}: {name}" + (", compressed" if compressed else ""), content


def with_fields(**fields: object) -> Callable[[bytes], bytes]:
    def change(whole: bytes) -> bytes:
        header = nib.Nifti1Header(whole[:348], check=False)
        for field, value in fields.items():
            if isinstance(value, dict):
                for index, one in value.items():
                    header[field][index] = one
            else:
                header[field] = value
        return header.binaryblock + whole[348:]

    return change


def stored(
    change: Callable[[np.ndarray], np.ndarray], dtype: type = np.float32, **fields: object
) -> Callable[[bytes], bytes]:
    """Other values, of another type."""

    def changed(whole: bytes) -> bytes:
        header = nib.Nifti1Header(whole[:348], check=False)
        data = np.frombuffer(whole[352:], np.int16).astype(np.float64)
        with np.errstate(all="ignore"):
            values = change(data.reshape((*SHAPE, FRAMES), order="F")).astype(dtype)
        header.set_data_dtype(dtype)
        made = header.binaryblock + whole[348:352] + values.tobytes(order="F")
        return with_fields(**fields)(made)

    return changed


def _fields(whole: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """One to three fields of the header get numbers that are out of place."""
    header = nib.Nifti1Header(whole[:348], check=False)
    names, said = list(header.keys()), []
    for _ in range(random.integers(1, 4)):
        field = names[random.integers(len(names))]
        value = _OFFSETS if field == "vox_offset" else _NUMBERS
        number = value[random.integers(len(value))]
        array = header.structarr[field]
        place = int(random.integers(array.size)) if array.ndim else None
        kind = array.dtype.kind
        if kind == "S":
            number = bytes(random.integers(0, 256, array.dtype.itemsize, dtype=np.uint8))
        elif kind in "iu":
            limits = np.iinfo(array.dtype)
            number = int(np.clip(np.nan_to_num(number), limits.min, limits.max))
        with np.errstate(all="ignore"):
            if place is None:
                header.structarr[field] = number
            else:
                array[place] = number
        said.append(f"{field}{'' if place is None else [place]} = {number}")
    return "; ".join(said), header.binaryblock + whole[348:]


def _bits(whole: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """Some bits of the header are turned."""
    return "bits", _flipped(whole[:352], random, int(random.integers(1, 6))) + whole[352:]


def _flipped(content: bytes, random: np.random.Generator, number: int) -> bytes:
    changed = bytearray(content)
    for _ in range(number):
        changed[random.integers(len(changed))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _values(whole: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """Voxels or frames become what is no signal, in some type."""
    value = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e20, 1e10, -1e4, 0.0)[random.integers(9)]
    share = (1e-4, 0.01, 0.3, 0.99)[random.integers(4)]
    dtype = (np.float32, np.float64, np.int32, np.uint8)[random.integers(4)]
    frames = random.random(FRAMES) < 0.5

    def change(data: np.ndarray) -> np.ndarray:
        chosen = random.random(data.shape) < share
        data[chosen & frames] = value
        return np.nan_to_num(data).clip(-2e9, 2e9) if np.dtype(dtype).kind in "iu" else data

    name = f"{share:.2%} of frames {np.flatnonzero(frames)} are {value} as {np.dtype(dtype)}"
    return name, stored(change, dtype)(whole)


def _cut(whole: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """The file ends too early, or goes on."""
    if random.random() < 0.3:
        return "longer", whole + bytes(random.integers(1, 5000))
    length = int(random.integers(len(whole)))
    return f"cut to {length} bytes", whole[:length]


def ended(
    contents: Iterable[tuple[str, bytes]],
    main: Callable[[list[str]], int],
    words: Callable[[Path, Path], list[str]],
    place: Path,
) -> Iterator[Ending]:
    """Run a command on files, some in each fork of this process.

    `words` are its arguments, given the file and the folder for what is written; both lie in
    `place`.
    """
    waiting = list(contents)
    while waiting:
        batch, waiting = waiting[:_FORK], waiting[_FORK:]
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            with os.fdopen(write, "w") as pipe:
                for _, content in batch:
                    print(json.dumps(_ending(content, main, words, place)), file=pipe, flush=True)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            told = [json.loads(line) for line in pipe]
        yield from (Ending(name, *one) for (name, _), one in zip(batch, told, strict=False))
        _, status = os.waitpid(child, 0)
        if len(told) < len(batch):
            name = batch[len(told)][0]
            yield Ending(name, -1, "", f"its process was ended by signal {os.WTERMSIG(status)}")
            waiting = batch[len(told) + 1 :] + waiting


def _ending(
    content: bytes,
    main: Callable[[list[str]], int],
    words: Callable[[Path, Path], list[str]],
    place: Path,
) -> tuple[int, str, str | None]:
    source, out = place / "image.nii", place / "out"
    source.write_bytes(content)
    shutil.rmtree(out, ignore_errors=True)
    signal.alarm(_SECONDS)
    code, err = 99, io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            code = main(words(source, out))
    except BaseException:
        err.write(traceback.format_exc())
    written = sorted(out.iterdir()) if out.is_dir() else []
    return code, err.getvalue(), _fault(code, err.getvalue(), written)


def corrected(
    contents: Iterable[tuple[str, bytes]], place: Path, *options: str
) -> Iterator[Ending]:
    """What `unimo-correct` makes of files."""
    from unimo_bids.cli.correct import main

    words = ("--quiet", "--no-figure", "--device", "cpu", *options)
    return ended(contents, main, lambda source, out: [str(source), str(out), *words], place)
