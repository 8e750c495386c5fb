"""Values of a NIfTI file as they are stored, frame by frame: what is damaged or lies is refused."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib
from nibabel.nifti1 import Nifti1Header

from unimo_bids.errors import InputError, MachineError
from unimo_bids.files import header as headers
from unimo_bids.files.staging import machine_error

# Sums of squares of larger values overflow float32, of smaller ones they vanish; no scanner's units
# come near. Nor is there an image where values differ by less than float32 can hold.
LARGEST, _SMALLEST, _FLAT = 1e15, 1e-15, 1e-6
BROKEN = "NaN, infinite or beyond 1e15"
EXPORT_AGAIN = "copy or export the file again"
# Deflate cannot do better than this: a file that claims more is lying, whatever it contains.
BEST_COMPRESSION = 1032
_CHUNK_BYTES = 2**20
# isal's stubs call its error a value, not a type
_DAMAGED = (EOFError, gzip.BadGzipFile, cast(type[Exception], isal_zlib.error))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, through gzip if that is what it contains; faults become refusals."""
    try:
        if path.is_symlink() and not path.exists():
            remedy = "fetch the file (datalad get, git annex get)"
            raise InputError(path, "it is a link to nothing", remedy)
        if not path.exists():
            raise InputError(path, "there is no such file", "check the path")
        if not path.is_file():
            raise InputError(path, "this is not a file", "give a .nii or .nii.gz file")
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not compressed:
                yield file
                return
            with igzip.IGzipFile(fileobj=file) as stream:
                yield cast(BinaryIO, stream)
    except _DAMAGED as error:
        finding = f"its compressed data are damaged or cut short ({error})"
        raise InputError(path, finding, EXPORT_AGAIN) from error
    except OSError as error:
        raise machine_error(path, error) from error


@dataclass(frozen=True)
class Stored:
    """Values ``(X, Y, Z, T)`` of a file; `broken` of them were set to signal 0."""

    data: npt.NDArray[Any]
    slope: float
    intercept: float
    broken: int
    warnings: list[str]

    def is_flat(self, t: int) -> bool:
        """Whether a frame has the same signal everywhere, or nearly."""
        frame = self.data[..., t]
        low, high = (self.slope * float(one) + self.intercept for one in (frame.min(), frame.max()))
        return abs(high - low) <= max(_SMALLEST, _FLAT * max(abs(low), abs(high)))


def read_frames(
    stream: BinaryIO, header: Nifti1Header, shape: tuple[int, ...], path: Path
) -> Stored:
    """Read the values, and no more."""
    dtype = headers.data_type(header, path)
    slope, intercept = headers.scaling(header)
    frame_bytes = int(np.prod([int(n) for n in shape[:3]], dtype=object)) * dtype.itemsize
    offset = int(header["vox_offset"])
    claimed = offset + frame_bytes * shape[3]
    on_disk = path.stat().st_size
    compressed = isinstance(stream, gzip.GzipFile)
    if not compressed and claimed > on_disk:
        raise _size_lie(path, shape, claimed, on_disk)
    if compressed and claimed > BEST_COMPRESSION * on_disk:
        raise _size_lie(path, shape, claimed, None)

    wide = dtype.itemsize > 4 or _overflows(dtype, slope, intercept)
    kept: np.dtype[np.generic] = np.dtype(np.float32) if wide else dtype.newbyteorder("=")
    try:
        # pages are only taken as frames arrive, so a false claim costs nothing here
        data = np.empty((shape[3], *shape[:3]), kept)
        buffer = np.empty(shape[2::-1], dtype)
    except MemoryError as error:
        length = _length(stream)
        if length < claimed:
            raise _size_lie(path, shape, claimed, length) from error
        finding = f"the series needs {claimed / 2**20:.0f} MiB of memory, more than is left"
        remedy = "run on a machine with more memory, or raise the limit (ulimit -v, or the job's)"
        raise MachineError(path, finding, remedy) from error

    stream.seek(offset)
    broken = 0
    for t in range(shape[3]):
        if _fill(stream, buffer.view(np.uint8).data.cast("B")) < frame_bytes:
            finding = f"it ends within frame {t} of the {shape[3]} that its header announces"
            raise InputError(path, finding, EXPORT_AGAIN)
        frame: npt.NDArray[Any] = buffer
        if wide:
            with np.errstate(over="ignore"):  # beyond float32 is infinite, and counted below
                frame = (buffer * slope + intercept).astype(np.float32)
        if frame.dtype.kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                signal = frame if wide or slope == 1 else frame * slope + intercept
                bad = ~(abs(signal) <= LARGEST)
            if bad.any():
                broken += int(bad.sum())
                frame[bad] = 0 if wide else -intercept / slope
        data[t] = frame.T
    # to the end: there stands the checksum of compressed data
    more = _rest(stream)
    warnings = [f"What follows its {shape[3]} frames in the file, {more} bytes, is left out."]
    scale = (1.0, 0.0) if wide else (slope, intercept)
    return Stored(np.moveaxis(data, 0, -1), *scale, broken, warnings if more else [])


def _overflows(dtype: np.dtype[Any], slope: float, intercept: float) -> bool:
    """Whether scaled integers may exceed `LARGEST`."""
    if dtype.kind not in "iu":
        return False
    limits = np.iinfo(dtype)
    return max(abs(slope * one + intercept) for one in (limits.min, limits.max)) > LARGEST


def _fill(stream: BinaryIO, target: memoryview) -> int:
    """Fill a buffer from a stream by small chunks; returns how many bytes were read."""
    done = 0
    while done < len(target):
        chunk = stream.read(min(_CHUNK_BYTES, len(target) - done))
        if not chunk:
            break
        target[done : done + len(chunk)] = chunk
        done += len(chunk)
    return done


def _length(stream: BinaryIO) -> int:
    """Bytes in a stream, by reading it through."""
    stream.seek(0)
    return _rest(stream)


def _rest(stream: BinaryIO) -> int:
    """Bytes from here to the end of a stream, by reading on."""
    length = 0
    while chunk := stream.read(_CHUNK_BYTES):
        length += len(chunk)
    return length


def _size_lie(path: Path, shape: tuple[int, ...], claimed: int, found: int | None) -> InputError:
    has = "far fewer" if found is None else f"{found}"
    finding = (
        f"its header announces {extent(shape)} voxels, {claimed} bytes, but the file holds {has}"
    )
    return InputError(path, finding, EXPORT_AGAIN)


def extent(shape: tuple[int, ...]) -> str:
    """Format a shape."""
    return " × ".join(str(n) for n in shape)
