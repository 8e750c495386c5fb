"""Read a 4D series, or a mask on its grid, frame by frame: never more than the series in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Header

from unimo_bids.errors import InputError
from unimo_bids.files import header as headers
from unimo_bids.files.header import Float64
from unimo_bids.files.voxels import BROKEN, EXPORT_AGAIN, extent, opened, read_frames

if TYPE_CHECKING:
    from unimo_bids.spatial.grid import Grid

Float32 = npt.NDArray[np.float32]

# Below this there is no through-plane gradient to speak of, and no rigid motion to be seen.
_FEWEST_VOXELS = 4
# A slab sees other tissue after every move through it, which the standard deviations do not know
# of: of a simulated head, four slices of 4 mm give four times the error of the whole, and more.
_FEW_SLICES, _THIN_SLAB_MM = 5, 15.0
# Maps of labels have fewer different values, series more. Fractions may be percent, or of 255.
_MOST_LABELS, _MOST_FRACTION = 200, 255


@dataclass(frozen=True)
class Series:
    """A 4D series in memory, and what its header says.

    Indexed like an array, ``series[..., t]``, it gives signal: float32, scaled, finite.

    Attributes
    ----------
    data
        ``(X, Y, Z, T)`` stored values: the type on disk, or float32 where that is wider. Values
        that are not finite have been set to signal 0. A frame lies in one piece, in C order.
    affine
        ``(4, 4)`` indices to RAS mm.
    header
        As on disk, made to agree with ``affine`` where it did not.
    repetition_time
        Seconds, or None where the header does not say.
    slope, intercept
        Signal = slope · data + intercept.
    empty_frames
        Frames that have the same value everywhere, or nearly.
    slice_axis
        Along which slices were taken: as the header has it, or the third.
    """

    data: npt.NDArray[Any]
    affine: Float64
    header: Nifti1Header
    repetition_time: float | None
    warnings: tuple[str, ...]
    path: Path
    slope: float = 1.0
    intercept: float = 0.0
    empty_frames: tuple[int, ...] = field(default=())
    slice_axis: int = 2

    @property
    def shape(self) -> tuple[int, ...]:
        """``(X, Y, Z, T)``."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Four."""
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of the frames, whatever the type on disk."""
        return np.dtype(np.float32)

    @cached_property
    def grid(self) -> Grid:
        """Where its voxels are."""
        from unimo_bids.spatial.grid import Grid  # torch, which not all who read need

        return Grid.of(self.shape, self.affine)

    def frame(self, t: int) -> Float32:
        """Signal of one frame, ``(X, Y, Z)`` float32, a copy."""
        frame = self.data[..., t].astype(np.float32)
        if self.slope != 1:
            frame *= np.float32(self.slope)
        if self.intercept != 0:
            frame += np.float32(self.intercept)
        return frame

    def __getitem__(
        self, index: tuple[EllipsisType, int | slice | npt.NDArray[np.intp]]
    ) -> Float32:
        """Frames by ``[..., t]``: one for a number, ``(X, Y, Z, n)`` for a slice or a list."""
        if not (isinstance(index, tuple) and len(index) == 2 and index[0] is ...):
            raise TypeError("a series is indexed by frame: series[..., t]")
        chosen = np.arange(self.shape[3])[index[1]]
        if chosen.ndim == 0:
            return self.frame(int(chosen))
        return np.stack([self.frame(int(t)) for t in chosen], axis=-1)


def read_series(path: str | Path, *, single: bool = False) -> Series:
    """Read a series, and refuse or repair what is wrong with it.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz``, NIfTI-1 or -2, either byte order.
    single
        Also take one volume, as a series of one frame.

    Raises
    ------
    InputError
        The file is missing, damaged, or no series of at least two usable frames.
    MachineError
        It may not be read, or does not fit into memory.
    """
    path = Path(path)
    with opened(path) as stream:
        header = headers.read_header(stream, path)
        shape = headers.data_shape(header, path)
        if single and len(shape) == 3:
            shape = (*shape, 1)
        _check_series_shape(shape, path, fewest=1 if single else 2)
        header, warnings = headers.sound_header(header)
        affine, fixed, about_space = headers.world_affine(header, shape, path)
        stored = read_frames(stream, header, shape, path)
    seconds, about_time = headers.repetition_time(header)
    warnings += about_space + about_time + stored.warnings
    frames, broken = shape[3], stored.broken
    empty = tuple(t for t in range(frames) if stored.is_flat(t))
    if len(empty) == frames:
        finding = "every frame is empty (one value everywhere, or nearly)"
        if broken:
            finding += f" where values that are {BROKEN} are left out"
        raise InputError(path, finding, EXPORT_AGAIN)
    slice_axis = fixed.get_dim_info()[2]
    warnings += _about_slabs(shape, affine)
    if frames < 4 and not single:
        warnings.append(f"Only {frames} frames: motion can be estimated, statistics say little.")
    if broken:
        values = "1 value is" if broken == 1 else f"{broken} values are"
        warnings.append(f"{values} {BROKEN}; treated as 0.")
    if empty:
        warnings.append(f"{_counted(empty)} the same value everywhere and cannot be registered.")
    return Series(
        stored.data,
        affine,
        fixed,
        seconds,
        tuple(warnings),
        path,
        stored.slope,
        stored.intercept,
        empty_frames=empty,
        slice_axis=2 if slice_axis is None else int(slice_axis),
    )


def timed(series: Series, repetition_time: float | None) -> Series:
    """A series whose header gives another repetition time, in seconds (None: as it is)."""
    if repetition_time is None or series.repetition_time == repetition_time:
        return series
    header = series.header.copy()
    header.extensions = series.header.extensions
    space, _ = header.get_xyzt_units()
    header.set_xyzt_units(space, "sec")
    header["pixdim"][4] = repetition_time
    return replace(series, header=header, repetition_time=repetition_time)


def read_volume(path: str | Path, series: Series) -> Float32:
    """Read one volume ``(X, Y, Z)`` that lies on the grid of a series; of several, their mean."""
    path = Path(path)
    with opened(path) as stream:
        header = headers.read_header(stream, path)
        shape = headers.data_shape(header, path)
        affine, _, _ = headers.world_affine(header, shape, path)
        apart = headers.grid_distance(series.affine, affine, shape[:3])
        if shape[:3] != series.shape[:3] or apart > headers.SAME_GRID_VOXELS:
            finding = f"it is not on the grid of {series.path.name}"
            raise InputError(path, finding, "resample it, or do without it")
        four = (*shape, 1)[:4]
        stored = read_frames(stream, header, four, path)
    mean = stored.data.mean(axis=-1, dtype=np.float64)
    return (mean * stored.slope + stored.intercept).astype(np.float32)


def read_mask(path: str | Path, series: Series) -> npt.NDArray[Any]:
    """Read a mask on the grid of a series.

    `path`: a 3D NIfTI file, or a 4D one with a mask for each frame. Integers are inside where they
    are above 0; fractions are soft, divided by their maximum where that is above 1 (percent).

    Returns ``(X, Y, Z)`` float32, or ``(X, Y, Z, T)`` in a type no wider than needed, within 0 … 1.
    """
    path = Path(path)
    with opened(path) as stream:
        header = headers.read_header(stream, path)
        shape = headers.data_shape(header, path)
        if len(shape) == 4 and shape[3] == 1:
            shape = shape[:3]
        if shape not in (series.shape, series.shape[:3]):
            finding = f"the mask has the size {extent(shape)}, the series {extent(series.shape)}"
            raise InputError(path, finding, "resample the mask to the grid of the series")
        affine, _, _ = headers.world_affine(header, shape, path)
        if headers.grid_distance(series.affine, affine, shape) > headers.SAME_GRID_VOXELS:
            finding = "the mask lies elsewhere in space than the series (other affine)"
            raise InputError(path, finding, "resample the mask to the grid of the series")
        four = (*shape, 1)[:4]
        stored = read_frames(stream, header, four, path)

    def values(t: int) -> npt.NDArray[np.floating]:
        return np.asarray(stored.data[..., t] * stored.slope + stored.intercept)

    peaks = [float(values(t).max()) for t in range(four[3])]
    peak = max(peaks)
    soft = stored.data.dtype.kind == "f" or (stored.slope, stored.intercept) != (1, 0)
    if peak <= (0.5 if soft else 0):
        finding = "the mask is empty" + (" (nowhere above one half)" if peak > 0 else "")
        finding += f" where values that are {BROKEN} are left out" if stored.broken else ""
        raise InputError(path, finding, "give a mask that covers the brain")
    if peak > 1:
        found = np.unique(values(peaks.index(peak)))
        labels = bool((found == np.rint(found)).all())
        if len(found) > _MOST_LABELS if labels else peak > _MOST_FRACTION:
            finding = f"this is an image, not a mask: its values reach {peak:g}"
            raise InputError(path, finding, "give 0 and 1, labels, or fractions")
        soft = soft and not labels
    # half precision is finer than any mask, and a mask per frame is as large as the series
    mask = np.empty(four[::-1], np.float16 if soft else np.uint8).T
    for t in range(four[3]):
        mask[..., t] = np.clip(values(t) / max(peak, 1.0), 0, 1) if soft else values(t) > 0
    return mask if len(shape) == 4 else mask[..., 0].astype(np.float32)


def _check_series_shape(shape: tuple[int, ...], path: Path, fewest: int) -> None:
    if len(shape) != 4:
        finding = f"it has {len(shape)} dimensions ({extent(shape)}), a series has four"
        raise InputError(path, finding, "give a 4D series (X, Y, Z, time)")
    if shape[3] < fewest:
        remedy = "give a series of at least two"
        raise InputError(path, "it has a single frame", remedy)
    if min(shape[:3]) < _FEWEST_VOXELS:
        finding = f"its frames measure {extent(shape[:3])} voxels, too few to see motion in space"
        raise InputError(path, finding, f"give at least {_FEWEST_VOXELS} along each axis")


def _about_slabs(shape: tuple[int, ...], affine: Float64) -> list[str]:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    thin = int(np.argmin(shape[:3] * sizes))
    many, mm = shape[thin], shape[thin] * sizes[thin]
    if many >= _FEW_SLICES and mm >= _THIN_SLAB_MM:
        return []
    return [
        f"The frames are a slab of {many} slices ({mm:.0f} mm): motion through it is less certain"
        " than the standard deviations say."
    ]


def _counted(frames: tuple[int, ...]) -> str:
    listed = ", ".join(str(t) for t in frames[:8]) + (", …" if len(frames) > 8 else "")
    return f"Frame {listed} has" if len(frames) == 1 else f"{len(frames)} frames ({listed}) have"
