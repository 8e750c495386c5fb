"""Write images like a given series: same header, same grid or another, frame by frame."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from isal import igzip
from nibabel.nifti1 import Nifti1Extensions, Nifti1Header

from unimo_bids.files.header import scaling
from unimo_bids.files.series import Series
from unimo_bids.files.staging import atomic
from unimo_bids.spatial.grid import Grid

# Noise hardly compresses. ISA-L's level 2 makes files as small as zlib's level 1, in a sixth of its
# time (16-bit 0.8 ms for a frame of 320 KiB, ratio 1.42; zlib's level 6 takes 16 ms for 1.43).
_LEVEL = 2
_AFNI_EXTENSION = 4


class SeriesWriter:
    """Write a 4D series frame by frame, in the type and scaling of the series it was made from.

    A context manager: the file appears when the block ends well.

    Parameters
    ----------
    like
        The series whose header the new one takes over: type, slope and intercept, repetition
        time, units, intent, orientation, extensions (but AFNI's, which name the original file).
    onto
        The grid of the frames, if it is not that of the series.
    code
        Of the space that grid is in, as NIfTI numbers them; 0 for the series' own.
    """

    def __init__(
        self, path: str | Path, like: Series, onto: Grid | None = None, code: int = 0
    ) -> None:
        self.path = Path(path)
        self._header = _native(like.header)
        self._header.extensions = Nifti1Extensions(
            extension
            for extension in like.header.extensions
            if extension.get_code() != _AFNI_EXTENSION
        )
        self._shape = like.shape
        if onto is not None:
            self._shape = (*onto.shape, like.shape[3])
            _place(self._header, self._shape, onto, code)
        self._dtype = self._header.get_data_dtype()
        self._slope, self._intercept = scaling(like.header)
        self._written = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> SeriesWriter:
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic(self.path))
            compressed = self.path.suffix == ".gz"
            self._stream = stack.enter_context(_created(temporary, compressed))
            _write_header(self._stream, self._header)
            self._stack = stack.pop_all()
        return self

    def append(self, volume: npt.NDArray[np.floating]) -> None:
        """Write the next frame, ``(X, Y, Z)`` signal."""
        if volume.shape != self._shape[:3]:
            raise ValueError(f"a frame of {volume.shape} in a series of {self._shape}")
        stored = volume
        if (self._slope, self._intercept) != (1, 0):
            stored = (volume.astype(np.float64) - self._intercept) / self._slope
        _write_values(self._stream, stored, self._dtype)
        self._written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self._written != self._shape[3]:
            error = ValueError(f"{self._written} of {self._shape[3]} frames were written")
            with contextlib.suppress(ValueError):
                self._stack.__exit__(type(error), error, None)
            raise error
        self._stack.__exit__(kind, error, trace)


def write_volume(
    path: str | Path,
    volume: npt.NDArray[Any],
    like: Series,
    onto: Grid | None = None,
    code: int = 0,
) -> None:
    """Write one or several volumes, ``(X, Y, Z[, T])``, on the grid of a series or another.

    In the array's own type; `onto` and `code` as of `SeriesWriter`.
    """
    header = _native(like.header)
    header.extensions = Nifti1Extensions()
    header.set_data_shape(volume.shape)
    header.set_data_dtype(volume.dtype)
    header.set_intent("none")
    header["pixdim"][4:] = 0
    header["scl_slope"] = header["scl_inter"] = np.nan
    for field in ("cal_min", "cal_max", "slice_code", "slice_start", "slice_end", "toffset"):
        header[field] = 0
    header["slice_duration"] = 0
    header["descrip"] = b""
    if onto is not None:
        _place(header, volume.shape, onto, code)
    path = Path(path)
    with atomic(path) as temporary, _created(temporary, path.suffix == ".gz") as stream:
        _write_header(stream, header)
        _write_values(stream, volume, volume.dtype)


def _place(header: Nifti1Header, shape: tuple[int, ...], grid: Grid, code: int) -> None:
    """Set the grid of an image, and its space: the same, or that of a NIfTI code."""
    code = code or int(header["sform_code"]) or int(header["qform_code"]) or 1
    header.set_data_shape(shape)
    header.set_sform(grid.affine.numpy(), code)
    header.set_qform(grid.affine.numpy(), code)


def _native(header: Nifti1Header) -> Nifti1Header:
    """Copy a header in this machine's byte order, with its extensions."""
    copy = header.as_byteswapped("<")
    copy.extensions = header.extensions
    return copy


@contextlib.contextmanager
def _created(path: Path, compressed: bool) -> Iterator[BinaryIO]:
    """Open a new file; gzip without name and time, so that equal input gives equal bytes."""
    with path.open("wb") as file:
        if not compressed:
            yield file
            return
        stream = igzip.IGzipFile("", "wb", _LEVEL, file, mtime=0)
        try:
            yield cast(BinaryIO, stream)
        except BaseException:
            # closing would write again, to a disk that may be full, and hide the first error
            with contextlib.suppress(OSError):
                stream.close()
            raise
        stream.close()


def _write_header(stream: BinaryIO, header: Nifti1Header) -> None:
    header["vox_offset"] = 0  # nibabel then makes room for the extensions there are
    header.write_to(stream)


def _write_values(stream: BinaryIO, values: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    if dtype.kind in "iu" and values.dtype != dtype:
        limits = np.iinfo(dtype)
        # wide integers have limits that float32 cannot hold
        wide = dtype.itemsize > 2 or values.dtype != np.float32
        exact = np.nan_to_num(values.astype(np.float64 if wide else np.float32), copy=False)
        values = np.rint(exact, out=exact).clip(float(limits.min), float(limits.max), out=exact)
    stream.write(values.astype(dtype, copy=False).tobytes(order="F"))
