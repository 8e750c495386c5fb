"""A series as it is before anything is known of its motion: frames, reference, head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.brain.head import ADULT_RADIUS, NoImageError, find_head
from unimo_bids.motion.frames import Frames, empty
from unimo_bids.motion.guesses import Guesses
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.template import align, choose_reference, tears, torn_frames
from unimo_bids.registration.intensity import LEAST_VALID
from unimo_bids.registration.levels import Level, make_level
from unimo_bids.registration.resolution import mixed, mostly_own
from unimo_bids.registration.target import (
    Target,
    make_target,
)
from unimo_bids.registration.thresholds import RESOLUTION
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, Window, voxel_centers
from unimo_bids.spatial.region import Region
from unimo_bids.words import IntensityModel

Progress = Callable[[float, str], None]

# voxels around the head in a template: four widths of the blur, rounded up
_WINDOW_RIM = 3
# frames in the template: more lower its noise no further than interpolation allows
MOST_FRAMES = 24
_EVEN = 0.25  # radii, over which the coils' sensitivity may vary


class CoarseFrames:
    """A coarse copy of all frames, read when it is first asked for.

    Attributes
    ----------
    level
        Its resolution: 5 mm of blur for an adult brain, in proportion for smaller ones.
    """

    def __init__(self, frames: Frames, head: Region, progress: Progress) -> None:
        self._frames, self._progress = frames, progress
        blur = max(5.0 * head.radius / ADULT_RADIUS, 0.7 * frames.grid.widest)
        self.level = make_level(frames.grid, blur=blur, spacing=1.2 * blur, device=frames.device)

    @cached_property
    def images(self) -> Tensor:
        """``(T, X', Y', Z')`` float16."""
        count, device = self._frames.count, self._frames.device
        images = torch.empty((count, *self.level.grid.shape), dtype=torch.float16, device=device)
        for chunk in self._frames.chunks(range(count)):
            read = self.level.image(self._frames(chunk)).clamp(-6e4, 6e4)
            images[chunk[0] : chunk[-1] + 1] = read
            self._progress(0.1 + 0.1 * (chunk[-1] + 1) / count, "coarse images")
        return images


@dataclass(frozen=True, eq=False)
class Scan:
    """What all steps of an estimate start from.

    Attributes
    ----------
    frames
        The raw ones, scaled to the reference's brightness.
    usable
        ``(T,)`` frames that hold an image at all.
    reference
        The frame that poses are relative to.
    usual
        The frame that would be taken for that, had no other been asked for.
    reference_image
        ``(X, Y, Z)`` the reference.
    mask
        As it was given.
    head
        In the reference.
    steadiness
        ``(X, Y, Z)`` 0 … 1, how far each place goes with the head, as far as that is known.
    coarse, guesses
        Copies of the frames, and the network's poses, made when they are first asked for.
    """

    frames: Frames
    usable: NDArray[np.bool_]
    reference: int
    usual: int
    reference_image: Tensor
    mask: NDArray[Any] | None
    head: Region
    steadiness: Tensor
    coarse: CoarseFrames
    guesses: Guesses
    settings: MotionSettings
    progress: Progress

    @cached_property
    def fine(self) -> Level:
        """Full resolution."""
        grid = self.frames.grid
        edges = self.settings.fine_blur
        if mixed(self.head):
            edges = min(edges, RESOLUTION.blur)
        return make_level(grid, blur=edges * grid.widest, cubic=True, device=self.frames.device)

    @cached_property
    def window(self) -> Window:
        """The part of the grid that holds the head."""
        return self.head.window(_WINDOW_RIM)

    @property
    def times(self) -> Tensor:
        """When frames were taken, s, ``(T,)``."""
        return self.settings.repetition_time * torch.arange(self.frames.count).double()

    @property
    def weights(self) -> Tensor:
        """The head's soft mask in that part."""
        return self.head.weights[self.window]

    def evened(self) -> Frames:
        """Frames without the coils' sensitivity."""
        return self.frames.evened(_EVEN * self.head.radius)

    def target(self, images: Tensor, level: Level, points: int, model: IntensityModel) -> Target:
        """Target of images ``(J, X, Y, Z)`` at full resolution, any combination of which counts."""
        weights = level.image(self.head.weights * self.steadiness).clamp(0, 1)
        if mixed(self.head):
            weights = mostly_own(weights)
        nothing = empty(images[:1])[0]
        if bool(nothing.any()):  # the border of what was seen is no edge of the head
            weights = weights * (level.image(1 - nothing) > LEAST_VALID)
        return make_target(
            [level.image(images)],
            weights,
            level,
            center=self.head.center,
            radius=self.head.radius,
            model=model,
            max_points=points,
        )

    def aligned(self, poses: Tensor, chosen: list[int], frames: Frames | None = None) -> Tensor:
        """Frames without their motion, around the head."""
        frames = frames or self.frames
        return align(
            frames(chosen),
            poses[chosen],
            self.frames.grid,
            self.weights,
            self.window,
            frames.lost(chosen),
        )

    def read_coarse(self, images: Tensor, poses: Tensor) -> Tensor:
        """Coarse images ``(B, X', Y', Z')`` at the same places of the head, ``(B, N)``."""
        level = self.coarse.level
        inside = level.image(self.head.weights).flatten() > 0.5
        points = voxel_centers(level.grid.shape, images.device)[inside].double()
        points = rigid.transform(level.grid.affine.to(points), points)
        indices = rigid.transform(level.grid.to_index.to(points) @ poses.to(points), points)
        return level.sample(images[:, None], indices.float())[:, 0].double()

    def placed(self, parts: Tensor, around: Tensor) -> Tensor:
        """Images of what is around the head, ``(J, X', Y', Z')``, in the whole grid."""
        whole = around.expand(len(parts), *self.frames.grid.shape).clone()
        whole[:, *self.window] = parts
        return whole

    def spread(self, good: NDArray[np.bool_]) -> list[int]:
        """The reference and good frames from the whole series."""
        others = np.flatnonzero(good & (np.arange(len(good)) != self.reference))
        picked = np.linspace(0, len(others) - 1, min(len(others), MOST_FRAMES)).round()
        return [self.reference, *others[picked.astype(int)].tolist()]


@dataclass(frozen=True)
class Scout:
    """What small images of all frames tell.

    Attributes
    ----------
    usable
        ``(T,)`` frames that hold an image at all.
    reference
        Frame that poses are relative to.
    usual
        Frame that is still and like most others.
    brightness
        Of the reference's bright end.
    """

    usable: NDArray[np.bool_]
    reference: int
    usual: int
    brightness: float


def scout(
    frames: Frames,
    reference: int | Literal["auto"] = "auto",
    progress: Progress = lambda _share, _what: None,
) -> Scout:
    """Find which frames hold an image, and which one to start from."""
    images, ratios = _small_images(frames, progress)
    spread, size = images.std(dim=1), images.abs().amax(dim=1)
    usable = np.asarray((spread > 1e-6 * size).cpu())
    if not usable.any():
        raise NoImageError("no frame holds an image: all are empty or constant, or nearly so")
    whole = usable & ~torn_frames(ratios, usable)
    usual = choose_reference(images, whole)
    chosen = usual if reference == "auto" else int(reference)
    if not 0 <= chosen < frames.count:
        raise ValueError(f"reference {chosen}: the series has frames 0 … {frames.count - 1}")
    if not usable[chosen]:
        raise NoImageError(f"reference {chosen}: the frame is empty or constant, or nearly so")
    bright = torch.quantile(images[chosen], 0.98)
    brightness = float(bright) if bright > 0 else float(images[chosen].abs().max())
    return Scout(usable, chosen, usual, brightness)


def read_scan(
    series: Any,
    affine: NDArray[np.float64],
    mask: NDArray[Any] | None = None,
    reference: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    settings: MotionSettings | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Find which frames hold an image, which one to start from, and the head in it.

    Parameters are those of `estimate_motion`.
    """
    frames = Frames(series, affine, torch.device(device))
    settings = settings or MotionSettings()
    forward = _forward(progress)
    mask = _checked(mask, frames)
    found = scout(frames, reference, forward)
    chosen, frames.scale = found.reference, found.brightness
    reference_image = frames([chosen])[0]
    head = head_in(reference_image, frames.grid, of_frame(mask, chosen))
    return Scan(
        frames=frames,
        usable=found.usable,
        reference=chosen,
        usual=found.usual,
        reference_image=reference_image,
        mask=mask,
        head=head,
        steadiness=torch.ones_like(head.weights),
        coarse=CoarseFrames(frames, head, forward),
        guesses=Guesses(frames, mask, chosen, head, settings.fusion),
        settings=settings,
        progress=forward,
    )


def of_frame(mask: NDArray[Any] | None, frame: int) -> NDArray[Any] | None:
    """The mask of a frame, where there is one for each."""
    return mask[..., frame] if mask is not None and mask.ndim == 4 else mask


def head_in(image: Tensor, grid: Grid, mask: NDArray[Any] | None) -> Region:
    """The head in a frame ``(X, Y, Z)``."""
    return find_head(image, grid, mask, largest=1.5 * ADULT_RADIUS)


def _checked(mask: NDArray[Any] | None, frames: Frames) -> NDArray[Any] | None:
    if mask is None:
        return None
    mask = np.asarray(mask)
    grid = (*frames.grid.shape, frames.count)[: max(3, mask.ndim)]
    if mask.shape != grid:
        raise ValueError(f"mask {mask.shape} on a series {grid}")
    return mask


def _forward(progress: Progress | None) -> Progress:
    """Progress that never goes back: some frames are refined more than once."""
    done = 0.0

    def told(share: float, what: str) -> None:
        nonlocal done
        done = max(done, share)
        if progress is not None:
            progress(done, what)

    return told


def _small_images(frames: Frames, progress: Progress) -> tuple[Tensor, NDArray[np.float64]]:
    """Images ``(T, P)`` of 8 mm, and how much slices differ from their neighbours, ``(T,)``."""
    level = make_level(frames.grid, blur=4.0, spacing=8.0, device=frames.device)
    small, torn = [], []
    for chunk in frames.chunks(range(frames.count)):
        raw = frames(chunk)
        torn.append(tears(raw, frames.slice_axis))
        small.append(level.image(raw).reshape(len(chunk), -1))
        progress(0.1 * (chunk[-1] + 1) / frames.count, "reading")
    return torch.cat(small), torch.cat(torn).cpu().numpy()
