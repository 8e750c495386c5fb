"""Frames of a series on the device: read, cleaned, scaled, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.devices import batch_share
from unimo_bids.motion.thresholds import FRAMES
from unimo_bids.spatial.grid import Grid, Window
from unimo_bids.spatial.interpolation import gaussian_blur
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

_DARKEST, _BRIGHTEST = 0.05, 4.0  # of the average around a voxel
WHOLE: Window = (slice(None), slice(None), slice(None))


class Frames:
    """The raw frames of ``(X, Y, Z, T)`` as ``(B, X, Y, Z)`` float32 tensors.

    Parameters
    ----------
    series
        Array-like; ``series[..., t]`` is read when frame t is wanted, and not kept. Slices lie
        along its ``slice_axis``, or the third.
    affine
        ``(4, 4)`` indices → RAS mm.
    device
        Where the tensors go.
    """

    def __init__(self, series: Any, affine: Any, device: torch.device) -> None:
        if len(series.shape) != 4:
            raise ValueError(f"a series has 4 dimensions (X, Y, Z, T), not {len(series.shape)}")
        self._series = series
        self.device = device
        self.grid = Grid.of(series.shape, affine)
        self.slice_axis: int = getattr(series, "slice_axis", 2)
        self.count: int = series.shape[3]
        self.scale = 1.0

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """Frames at these indices, divided by `scale`; NaN and infinities are 0."""
        out = np.empty((len(indices), *self.grid.shape), dtype=np.float32)
        for row, t in enumerate(indices):
            out[row] = self._series[..., int(t)]
        return self._clean(torch.from_numpy(out))

    def _clean(self, read: Tensor) -> Tensor:
        frames = read.to(self.device)
        return torch.nan_to_num_(frames, nan=0.0, posinf=0.0, neginf=0.0).div_(self.scale)

    def of(self, series: Any) -> Frames:
        """Frames of another series on the same grid, at the same scale."""
        frames = Frames(series, self.grid.affine, self.device)
        frames.scale, frames.slice_axis = self.scale, self.slice_axis
        return frames

    def scaled(self, scale: float) -> Frames:
        """The raw frames at another scale."""
        frames = self.of(self._series)
        frames.scale = scale
        return frames

    def lost(self, indices: Sequence[int]) -> Tensor | None:
        """How far places of these frames have lost their signal, 0 … 1; None where none have."""
        del indices
        return None

    def unseen(self, indices: Sequence[int], raw: Tensor, window: Window = WHOLE) -> Tensor:
        """How far places of a window of frames, as they were read, show nothing, 0 … 1."""
        nothing, lost = empty(raw), self.lost(indices)
        return nothing if lost is None else torch.maximum(nothing, lost[:, *window])

    def evened(self, width: float) -> Evened:
        """The same frames, each voxel relative to the average ``width`` mm around it."""
        return Evened(self, width)

    def chunks(self, indices: Sequence[int]) -> Iterator[Sequence[int]]:
        """Indices in groups whose frames fit a bounded working set (up to 64 MiB of raw voxels)."""
        voxels = int(np.prod(self.grid.shape))
        most = 32 if self.device.type == "cuda" else 8  # more are no quicker on a processor
        size = max(1, int(batch_share.get() * min(most, (1 << 24) // voxels)))
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


class PartOfFrames(Frames):
    """A part of the grid of the same frames."""

    def __init__(self, frames: Frames, window: Window) -> None:
        super().__init__(frames._series, frames.grid.affine, frames.device)
        self.scale, self.grid, self._window = frames.scale, frames.grid.part(window), window

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """The part in the frames at these indices."""
        part = [np.asarray(self._series[..., int(t)][self._window], np.float32) for t in indices]
        return self._clean(torch.from_numpy(np.stack(part)))

    def ghosts(self, indices: Sequence[int], axis: int) -> Tensor:
        """The part as a ghost shows it: what is half of the field of view away along an axis."""
        whole = [np.asarray(self._series[..., int(t)], np.float32) for t in indices]
        part = half_away(torch.from_numpy(np.stack(whole)), axis)[:, *self._window]
        return self._clean(part)


class Seen(Frames):
    """Frames of a series in another way; the same places of them have no signal."""

    def __init__(self, frames: Frames) -> None:
        super().__init__(frames._series, frames.grid.affine, frames.device)
        self.scale, self._frames = frames.scale, frames

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """Frames at these indices."""
        return self._frames(indices)

    def lost(self, indices: Sequence[int]) -> Tensor | None:
        """As of the frames themselves."""
        return self._frames.lost(indices)


class Partial(Seen):
    """Frames of which parts have lost their signal: coarse maps of 0 … 1, by frame."""

    def __init__(self, frames: Frames, coarse: Grid, maps: dict[int, Tensor]) -> None:
        super().__init__(frames)
        self._coarse, self._maps = coarse, maps

    def lost(self, indices: Sequence[int]) -> Tensor | None:
        """The maps of these frames ``(B, X, Y, Z)``."""
        if not any(t in self._maps for t in indices):
            return None
        none = torch.zeros(self._coarse.shape, device=self.device)
        maps = torch.stack([self._maps.get(int(t), none) for t in indices])
        rest = Rigid(torch.eye(4, dtype=torch.float64))
        return resample(maps, self._coarse, rest, onto=self.grid, interpolation="linear")


class Evened(Seen):
    """Frames of which each voxel is relative to the average around it.

    So the coils' sensitivity, which stays with the scanner, does not pull a turned head back.
    """

    def __init__(self, frames: Frames, width: float) -> None:
        super().__init__(frames)
        self._widths = (width / self.grid.sizes).tolist()

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """Frames at these indices."""
        frames = self._frames(indices)
        return evened(frames, gaussian_blur(frames, self._widths))


class Destriped(Seen):
    """Frames whose slices along an axis are divided by gains ``(T, S)``.

    What a slice far darker than the others shows, divided so, is noise: it is lost.
    """

    def __init__(self, frames: Frames, axis: int, gains: Tensor, dark: float) -> None:
        super().__init__(frames)
        shape = [len(gains), 1, 1, 1]
        shape[1 + axis] = gains.shape[1]
        self._gains = gains.reshape(shape).to(self.device)
        self._dark = (self._gains < dark).float()

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """Frames at these indices."""
        return self._frames(indices).div_(self._gains[list(indices)])

    def lost(self, indices: Sequence[int]) -> Tensor | None:
        """What had no signal before, and dark slices."""
        before, dark = self._frames.lost(indices), self._dark[list(indices)]
        if not bool(dark.any()):
            return before
        dark = dark.expand(-1, *self.grid.shape)
        return dark if before is None else torch.maximum(before, dark)


class Combined(Seen):
    """Frames whose slices along an axis are combinations ``(S, S)`` of theirs."""

    def __init__(self, frames: Frames, axis: int, matrix: Tensor) -> None:
        super().__init__(frames)
        self._axis, self._matrix = 1 + axis, matrix.to(self.device)

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """Frames at these indices."""
        frames = self._frames(indices).movedim(self._axis, -1)
        return (frames @ self._matrix.mT).movedim(-1, self._axis).contiguous()


class Unghosted(Seen):
    """Frames without the share of themselves that they show half of the field of view away.

    Parameters
    ----------
    axis
        Along which that is.
    shares
        ``(X, Y, Z)`` that all have.
    own
        ``(T,)`` beside it.
    """

    def __init__(self, frames: Frames, axis: int, shares: Tensor, own: Tensor) -> None:
        super().__init__(frames)
        self._axis, self._shares, self._own = axis, shares.to(self.device), own.to(self.device)

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """Frames at these indices."""
        frames = self._frames(indices)
        shares = self._shares + self._own[list(indices)][:, None, None, None]
        without = frames
        for _ in range(2):  # a ghost of a ghost is a hundredth
            without = frames - shares * half_away(without, self._axis)
        return torch.where(frames == 0, 0, without)  # what was not seen


def half_away(images: Tensor, axis: int) -> Tensor:
    """Images ``(..., X, Y, Z)``: what is half of the field of view away along an axis."""
    return images.roll(images.shape[axis - 3] // 2, axis - 3)


def filled(kept: NDArray[np.int_], slices: int) -> Tensor:
    """What makes all slices of those that are kept, ``(S, S)``, for `Combined`.

    Examples
    --------
    >>> filled(np.array([0, 2]), 4)
    tensor([[1.0000, 0.0000, 0.0000, 0.0000],
            [0.5000, 0.0000, 0.5000, 0.0000],
            [0.0000, 0.0000, 1.0000, 0.0000],
            [0.0000, 0.0000, 1.0000, 0.0000]])
    """
    rows = [np.interp(np.arange(slices), kept, one) for one in np.eye(len(kept))]
    out = torch.zeros(slices, slices)
    out[:, kept.tolist()] = torch.from_numpy(np.stack(rows, axis=1)).float()
    return out


def evened(images: Tensor, average: Tensor) -> Tensor:
    """Images ``(B, X, Y, Z)`` relative to the average around each voxel."""
    thinned = average.flatten(1)[:, :: max(1, average[0].numel() // 50_000)]
    bright = torch.quantile(thinned, 0.98, dim=1)[:, None, None, None]
    # air is not brought up, and nothing outside the head takes over
    least = (_DARKEST * bright).clamp(min=1e-12)
    return (images / average.maximum(least)).clamp(-_BRIGHTEST, _BRIGHTEST)


def empty(frames: Tensor) -> Tensor:
    """1 where frames ``(B, X, Y, Z)`` hold nothing, exactly 0, and were not looked at.

    That is what is 0 all around in a plane: one voxel that is 0 by chance is dark. Where most of a
    frame is 0, somebody has masked it, and the border of that is the head's; then only whole planes
    at the border of the grid count.
    """
    found = torch.zeros_like(frames)
    for frame, out in zip(frames, found, strict=True):
        zero = frame == 0
        share = float(zero.float().mean())
        if share > FRAMES.masked:
            out.copy_(_planes(zero))
        elif share > FRAMES.by_chance:
            out.copy_(_sheets(zero))
    return found


def _sheets(zero: Tensor) -> Tensor:
    """What is true all around in a plane across any axis, and its rim in that plane."""
    core = [_joined(zero, axis, torch.logical_and) for axis in range(3)]
    found = torch.zeros_like(zero)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        sheet = _joined(core[first], second, torch.logical_and)
        for axis in (first, second):
            sheet = _joined(sheet, axis, torch.logical_or)
        found |= sheet
    return found


def _joined(mask: Tensor, axis: int, join: Callable[..., Tensor]) -> Tensor:
    """Each voxel with the ones before and after it; at the border, with the one there is."""
    n = mask.shape[axis]
    out = mask.clone()
    for here, there in (((0, n - 1), (1, n - 1)), ((1, n - 1), (0, n - 1))):
        part = out.narrow(axis, *here)
        join(part, mask.narrow(axis, *there), out=part)
    return out


def _planes(zero: Tensor) -> Tensor:
    """Whole planes at the border of the grid."""
    found = torch.zeros_like(zero)
    for axis in range(3):
        one, two = (a for a in range(3) if a != axis)
        whole = zero.all(dim=two, keepdim=True).all(dim=one, keepdim=True).int()
        first, last = whole.cumprod(axis), whole.flip(axis).cumprod(axis).flip(axis)
        found |= (first | last).bool()
    return found


class Preceded:
    """A series with one more frame before its first: a reference that was scanned apart.

    Parameters
    ----------
    volume
        ``(X, Y, Z)`` on the grid of the series.
    series
        ``(X, Y, Z, T)``, anything indexed by ``[..., t]``.
    """

    def __init__(self, volume: Any, series: Any) -> None:
        if volume.shape != series.shape[:3]:
            raise ValueError(f"a frame of {volume.shape} before a series of {series.shape}")
        self._volume, self._series = volume, series
        self.shape = (*series.shape[:3], series.shape[3] + 1)
        self.slice_axis: int = getattr(series, "slice_axis", 2)

    def __getitem__(self, index: tuple[Any, int]) -> Any:
        """Frame t by ``[..., t]``; 0 is the one before the first."""
        t = index[-1]
        return self._volume if t == 0 else self._series[..., t - 1]
