"""Real stacks of whole uteri: with their heads, without them, or with a synthetic head laid in.

A folder of stacks holds images, and either a brain mask for each (``…_mask.nii.gz`` beside it) or
``landmarks.tsv``: the brain's centre and both eyes as a person marked them (voxel indices), and the
age. Masks drawn by hand hold the skull, which is taken off. Where there is no mask, the brain is
outlined by the shipped network at the marked place, from boxes of several sizes, mirrored too. What
is dark, near an eye or no part of a solid body is taken off. Stacks are turned to the axes nearest
to RAS, as the finder turns what it sees.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unimo_bids.brain.mask import ball_radius
from unimo_bids.brain.network import BrainNetworks, segment_box
from unimo_bids.brain.segmentation import segmented
from unimo_bids.brain.upright import Upright
from unimo_bids.errors import InputError
from unimo_bids.files.series import read_series
from unimo_bids.networks.weights import FOLDER, load_weights
from unimo_bids.spatial.region import largest_piece
from unimo_bids.training.scanner import (
    BRAIN_MEAN,
    Grid,
    Random,
    interpolated,
    noise,
    shapes,
    some_rotation,
    warp,
)

BRAIN, HEAD = 1, 2  # labels of a stack; the head is what lies around its brain

Bool3 = NDArray[np.bool_]

_HEAD_MM, _EYE_MM, _FACE_MM = 9.0, 9.0, 20.0
# So far within masks drawn by hand the fluid ends: measured on six T2w stacks of one fetus
# (`benchmarks.brain`); masks of this project end there
_SKULL_MM = 3.5
# of the brain's radius: outlines are opened by a ball of it; boxes they are seen in
_OPENING, _BOXES = 0.22, (0.95, 1.1, 1.25)
_DARK, _SMOOTH_MM, _NEARBY_MM = 0.5, 4.0, 40.0
_BRIGHTEST = 6.0  # relative to the brain

_ALONG_AXES = 0.7  # of the stacks are turned by few degrees only, or by multiples of 90


@dataclass(frozen=True)
class Stack:
    """A real volume.

    Attributes
    ----------
    image
        ``(X, Y, Z)`` uint8, square root of the intensity relative to the brain's.
    labels
        ``(X, Y, Z)`` uint8, `BRAIN` or `HEAD`.
    sizes
        ``(3,)`` of its voxels, mm.
    name
        Of the file.
    fetus
        Whose.
    held_back
        Whether it is kept for validation.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    sizes: tuple[float, float, float]
    name: str
    fetus: str
    held_back: bool = False
    kind: str = "stack"

    @property
    def center(self) -> NDArray[np.float64]:
        """Centre of the brain, mm from the first voxel along the axes, ``(3,)``."""
        return np.argwhere(self.labels == BRAIN).mean(axis=0) * self.sizes

    @property
    def radius(self) -> float:
        """Radius of a ball of the brain's volume, mm."""
        return ball_radius(float((self.labels == BRAIN).sum() * np.prod(self.sizes) / 1000))


def gather_stacks(folders: Sequence[Path]) -> Iterator[Stack]:
    """Read all stacks of some folders; the brains without a mask are outlined."""
    for folder in folders:
        landmarks = folder / "landmarks.tsv"
        rows = {}
        if landmarks.exists():
            with landmarks.open() as file:
                rows = {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
        images = [p for p in sorted(folder.glob("*.nii*")) if "_mask." not in p.name]
        if not images:
            raise InputError(folder, "holds no stacks (*.nii, *.nii.gz)", "name another folder")
        for path in images:
            stem = path.name.split(".")[0]
            series = read_series(path, single=True)
            upright = Upright(series.affine, series.shape[:3])
            sizes = upright.sizes
            volume = np.maximum(upright.turned(series.frame(0)), 0)
            mask = path.with_name(path.name.replace(stem, f"{stem}_mask"))
            if mask.exists():
                drawn = upright.turned(read_series(mask, single=True).frame(0)) > 0.5
                brain = ndimage.distance_transform_edt(drawn, sampling=sizes) > _SKULL_MM
                yield _stack(volume, brain, [], sizes, stem, stem.split("_")[0])
            elif path.name in rows:
                row = rows[path.name]
                center, *eyes = (
                    upright.index([float(row[f"{what}_{axis}"]) for axis in "ijk"])
                    for what in ("brain", "left_eye", "right_eye")
                )
                weeks = float(row["gestational_age_weeks"])
                brain = _outlined(volume, sizes, center, eyes, weeks)
                yield _stack(volume, brain, eyes, sizes, stem, f"{weeks:g} weeks")
            else:
                raise InputError(path, "has neither mask nor landmarks", "add one, or move it away")


def _stack(
    volume: NDArray[np.float32],
    brain: Bool3,
    eyes: Sequence[NDArray[np.float64]],
    sizes: NDArray[np.float64],
    name: str,
    fetus: str,
) -> Stack:
    head = ndimage.distance_transform_edt(~brain, sampling=sizes) < _HEAD_MM
    for eye in eyes:
        head |= _distance(brain.shape, sizes, eye) < _FACE_MM
    labels = np.where(brain, BRAIN, np.where(head, HEAD, 0)).astype(np.uint8)
    relative = (volume / max(float(np.median(volume[brain])), 1e-6)).clip(max=_BRIGHTEST)
    image = np.round(255 * np.sqrt(relative / _BRIGHTEST)).astype(np.uint8)
    return Stack(image, labels, (float(sizes[0]), float(sizes[1]), float(sizes[2])), name, fetus)


def _outlined(
    volume: NDArray[np.float32],
    sizes: NDArray[np.float64],
    center: NDArray[np.float64],
    eyes: Sequence[NDArray[np.float64]],
    weeks: float,
) -> Bool3:
    """Brain at a marked place, as the shipped network sees it."""
    trained = BrainNetworks()
    load_weights(trained, FOLDER / "brain.safetensors", partial=True)
    apart = sizes.tolist()
    radius = 21.0 + 1.55 * (weeks - 20)  # mm, about
    seen = torch.zeros(volume.shape)
    for mirrored in ([], [0], [1], [2]):
        image = torch.from_numpy(np.ascontiguousarray(np.flip(volume, tuple(mirrored))))
        place = np.array(
            [volume.shape[a] - 1 - c if a in mirrored else c for a, c in enumerate(center)]
        )
        for scale in _BOXES:
            box = segment_box(place * sizes, radius * scale)
            probability = segmented(image, apart, trained, box)[0].cpu()
            seen += box.write(probability, volume.shape, apart).flip(mirrored)
    brain = seen.numpy() > 0.5 * 4 * len(_BOXES)
    brain &= _relative(volume, brain, sizes) > _DARK
    for eye in eyes:
        brain &= _distance(volume.shape, sizes, eye) > _EYE_MM
    depth = ndimage.distance_transform_edt(brain, sampling=sizes)
    core = largest_piece(depth > _OPENING * radius)
    near = ndimage.distance_transform_edt(~core, sampling=sizes) <= _OPENING * radius
    return np.asarray(ndimage.binary_fill_holes(brain & near))


def _relative(
    volume: NDArray[np.float32], within: Bool3, sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Intensity, a little smoothed, relative to the mean of a mask nearby."""
    inside = np.where(within, volume, 0).astype(np.float64)
    smooth, wide = (
        ndimage.gaussian_filter(inside, width / sizes)
        / np.maximum(ndimage.gaussian_filter(within.astype(np.float64), width / sizes), 1e-6)
        for width in (_SMOOTH_MM, _NEARBY_MM)
    )
    return np.asarray(smooth / np.maximum(wide, 1e-6))


def _distance(
    shape: Sequence[int], sizes: NDArray[np.float64], index: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of every voxel from an index, mm."""
    axes = [s * (np.arange(n) - i) for n, s, i in zip(shape, sizes, index, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.asarray(np.sqrt(x**2 + y**2 + z**2))


class Placed:
    """A stack at a random place, size and orientation among the scanner's voxels."""

    def __init__(self, stack: Stack, rng: Random) -> None:
        self.stack = stack
        self.scale = float(np.exp(rng.uniform(-0.35, 0.25)))
        self.radius = stack.radius * self.scale
        small = rng.random() < _ALONG_AXES
        self.turn = some_rotation(rng, 15 if small else 180).numpy().astype(np.float64)
        self.turn = self.turn @ np.eye(3)[rng.permutation(3)] * rng.choice((-1.0, 1.0), 3)
        corners = np.array(np.meshgrid(*([0, n - 1] for n in stack.image.shape))).reshape(3, -1).T
        shown = (corners * stack.sizes - stack.center) * self.scale @ self.turn.T
        self.low, self.high = shown.min(axis=0), shown.max(axis=0)

    def within(self, place: Tensor, extent: NDArray[np.float64]) -> Tensor:
        """Move the brain's place so that the stack fills a field of view of an extent, ``(3,)``."""
        least, most = extent / 2 - self.high, -extent / 2 - self.low
        middle = (least + most) / 2
        moved = np.clip(place.numpy(), np.minimum(least, middle), np.maximum(most, middle))
        return torch.as_tensor(moved, dtype=torch.float32)

    def rendered(
        self,
        values: Tensor,
        points: Tensor,
        place: Tensor,
        rng: Random,
        grid: Grid,
        generator: torch.Generator,
        *,
        headless: bool,
    ) -> tuple[Tensor, Tensor]:
        """Intensity and brain at points; without the head, something else is in its place.

        `values` is ``(3, X, Y, Z)``: the stack's image, brain and head, as of `channels`.
        """
        own = (points - place.to(points)) @ torch.as_tensor(self.turn, dtype=points.dtype).to(
            points
        )
        own = own / self.scale + warp(grid, rng.uniform(0, 5), 60, generator)
        center = torch.as_tensor(self.stack.center, dtype=points.dtype).to(points)
        indices = (own + center) / torch.tensor(self.stack.sizes).to(points)
        image, brain, head = interpolated(values[None], indices)
        image = BRAIN_MEAN * image * float(np.exp(rng.normal(0, 0.3)))
        if rng.random() < 0.5:  # the same scan in another contrast, dark remaining dark
            image = BRAIN_MEAN * (image / BRAIN_MEAN) ** rng.uniform(0.6, 1.6)
        if headless:
            level = rng.uniform(0.1, 3) * BRAIN_MEAN * (1 + 0.2 * noise(grid, 10, generator))
            if rng.random() < 0.5:
                level = level + shapes(grid, rng, generator, rng.uniform(8, 40)) - BRAIN_MEAN
            head = head.clamp(0, 1)
            image = image * (1 - head) + head * level.clamp(min=0)
            brain = torch.zeros_like(brain)
        return image, brain


def channels(stack: Stack, device: torch.device) -> Tensor:
    """Image relative to the brain, brain, and head with the brain, ``(3, X, Y, Z)``."""
    relative = _BRIGHTEST * (stack.image.astype(np.float32) / 255) ** 2
    parts = [relative, stack.labels == BRAIN, stack.labels > 0]
    return torch.from_numpy(np.stack(parts).astype(np.float32)).to(device)
