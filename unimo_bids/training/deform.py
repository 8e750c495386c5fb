"""Recipe of the deformation network: pairs that a known field bends, the rigid part taken out.

The moving scan shows an object, the fixed one the object bent: as tissue does (a smooth field's
exponential), as EPI does (along one axis, with its Jacobian), both, or not at all. Each has
artefacts of its own, and at times a contrast of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from unimo_bids.deformation.matching import standardised
from unimo_bids.deformation.modes import Modes
from unimo_bids.deformation.shape import without_rigid
from unimo_bids.deformation.velocity import exponential
from unimo_bids.markdown import markdown_table
from unimo_bids.networks.deformation import (
    SAMPLES,
    VOXELS,
    DeformationNetwork,
    Seen,
    Window,
    prepared,
)
from unimo_bids.networks.pose import signed_distance
from unimo_bids.networks.weights import quick_arithmetic
from unimo_bids.spatial import grid as space
from unimo_bids.spatial import rigid
from unimo_bids.spatial.interpolation import gaussian_blur, sample_linear
from unimo_bids.spatial.warp import Field
from unimo_bids.training.anatomies import Packed, heads_of
from unimo_bids.training.pairs import organ, roughened
from unimo_bids.training.recipe import Recipe
from unimo_bids.training.scanner import (
    Grid,
    Random,
    noise,
    scanned,
    sensitivity,
    shapes,
    some_rotation,
    warp,
)
from unimo_bids.training.scenes import contrast, sampled
from unimo_bids.training.stacks import Stack

Kind = Literal["tissue", "epi", "both", "none"]
KINDS: tuple[Kind, ...] = ("tissue", "epi", "both", "none")
_SHARES = (0.35, 0.35, 0.2, 0.1)
_WHAT, _WHAT_SHARES = ("fetal", "adult", "organ"), (0.55, 0.25, 0.2)
_RADII = {"fetal": (26.0, 60.0), "adult": (50.0, 75.0), "organ": (25.0, 80.0)}
_LEAST, _MOST = 0.015, 0.15  # amplitude of a field, in radii
_SCALES = (0.45, 1.2)  # distance of its knots, in radii
_OTHER_CONTRAST, _CLEAN, _CROWDED, _MASKLESS = 0.35, 0.3, 0.5, 0.15
_IMAGE, _SHAPE = 0.5, 2.0  # parts of the loss; the displacement's, voxels, has 1
_WINDOW = 1.5  # of the correlation, voxels of half the resolution
_VALIDATION_SEED = 1_000_039  # of pairs that no training draws


@dataclass(frozen=True, eq=False)
class Bent:
    """A pair as the network reads it, and the truth.

    Attributes
    ----------
    images, masks
        ``(2, X, Y, Z)`` fixed and moving, in the window.
    displacement
        ``(3, X, Y, Z)`` voxels of the window: ``moving(x + u(x))`` shows what ``fixed(x)`` does.
    spacing
        Of these voxels, mm.
    """

    images: Tensor
    masks: Tensor
    displacement: Tensor
    spacing: float


class Bendings:
    """Draws pairs."""

    def __init__(
        self, objects: Sequence[Packed | Stack], device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.heads = heads_of(objects)

    def draw(
        self,
        rng: Random,
        kind: Kind | None = None,
        *,
        what: str | None = None,
        other_contrast: bool | None = None,
        clean: bool | None = None,
    ) -> Bent:
        """Render a pair; the same state gives the same pair. What is not given is drawn."""
        kind = kind or KINDS[rng.choice(len(KINDS), p=_SHARES)]
        what = what or _WHAT[rng.choice(len(_WHAT), p=_WHAT_SHARES)]
        if other_contrast is None:
            other_contrast = bool(rng.random() < _OTHER_CONTRAST)
        if clean is None:
            clean = bool(rng.random() < _CLEAN)
        heads = self.heads.get(what, [])
        thing = heads[rng.integers(len(heads))] if heads else organ(rng)
        radius = float(rng.uniform(*_RADII[what]))
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        grid = _draw_grid(rng, radius)
        points = grid.points(self.device)
        labels = torch.from_numpy(thing.labels).to(self.device)
        looks = [contrast(rng, thing)]
        looks.append(contrast(rng, thing) if other_contrast else looks[0])
        stretch = torch.eye(3) + 0.06 * torch.as_tensor(rng.standard_normal((3, 3))).float()
        to_object = (some_rotation(rng, 180) @ stretch * (thing.radius / radius)).to(points)
        wide = min(grid.sizes) * thing.radius / radius

        def shown(places: Tensor, look: np.ndarray) -> Tensor:
            lookup = torch.from_numpy(look).to(self.device)
            return sampled(thing, labels, lookup, places @ to_object, wide)

        bent, squeeze = bending(grid, kind, radius, rng, generator)
        fixed = shown(points + bent.movedim(0, -1), looks[0])
        fixed[0] *= squeeze
        # the pose that the field holds is put into the moving scan: what is left has none
        left, pose = without_rigid(Field(_affine(grid), bent), fixed[2])
        moving = shown(rigid.transform(pose.to(points), points), looks[1])
        crowded = rng.random() < _CROWDED
        scans = [
            _scan(one, grid, rng, generator, clean=clean, crowded=crowded)
            for one in (fixed, moving)
        ]
        return _as_read(scans, left.displacement, grid)


def bending(
    grid: Grid, kind: Kind, radius: float, rng: Random, generator: torch.Generator
) -> tuple[Tensor, Tensor | float]:
    """Displacement ``(3, X, Y, Z)``, mm, at a grid's voxels, and how much it brightens these."""
    bent = torch.zeros(3, *grid.shape, device=generator.device)
    squeeze: Tensor | float = 1.0
    size = radius * _LEAST * (_MOST / _LEAST) ** rng.random()
    scale = radius * rng.uniform(*_SCALES)
    blur = [scale / 3 / s for s in grid.sizes]  # knots are not to be seen
    if kind in ("tissue", "both"):
        velocity = gaussian_blur(warp(grid, size, scale, generator).movedim(-1, 0), blur)
        bent = exponential(velocity, _affine(grid), squarings=4)
    if kind in ("epi", "both"):
        axis = int(rng.integers(3))
        shift = 1.5 * size * gaussian_blur(noise(grid, scale, generator), blur)
        slope = torch.gradient(shift, spacing=grid.sizes[axis], dim=axis)[0]
        # signal is squeezed, but not folded
        share = min(1.0, 0.7 / max(float(slope.abs().max()), 1e-6))
        bent[axis] += share * shift
        squeeze = 1 + share * slope
    return bent, squeeze


def _draw_grid(rng: Random, radius: float) -> Grid:
    """Enough voxels for the object and some of what is around it."""
    fine = radius * rng.uniform(0.05, 0.085)
    sizes = np.full(3, fine)
    slices = int(rng.integers(3))
    sizes[slices] *= rng.choice((1.0, 1.5))
    return Grid.of((round(rng.uniform(2.7, 3.4) * radius / size) for size in sizes), sizes, slices)


def _affine(grid: Grid) -> space.Grid:
    """The same voxels, in the world of their own axes."""
    affine = np.diag([*grid.sizes, 1.0])
    affine[:3, 3] = -(np.array(grid.shape) - 1) / 2 * grid.sizes
    return space.Grid.of(grid.shape, affine)


def _scan(
    seen: Tensor, grid: Grid, rng: Random, generator: torch.Generator, *, clean: bool, crowded: bool
) -> tuple[Tensor, Tensor]:
    """Image and mask of intensity, presence and brain ``(3, X, Y, Z)``."""
    image, present, brain = seen
    if crowded:
        image = image + (1 - present) * shapes(grid, rng, generator, float(rng.uniform(12, 60)))
    if clean:
        return image, brain
    image = image * sensitivity(grid, rng, generator, 0.5)
    mask = roughened(brain, grid, rng) if rng.random() < 0.5 else brain
    return scanned(image, grid, rng, generator), mask


def _as_read(scans: Sequence[tuple[Tensor, Tensor]], displacement: Tensor, grid: Grid) -> Bent:
    window = Window.about(_affine(grid), scans[0][1])
    images, masks = (
        torch.stack([window.read(part) for part in of]) for of in zip(*scans, strict=True)
    )
    bent = torch.stack([window.read(part) for part in displacement]) / window.box.spacing
    return Bent(images, masks.clamp(0, 1), bent, window.box.spacing)


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of pairs, at half the window's resolution.

    Attributes
    ----------
    seen
        By the network.
    images, distances
        ``(B, 2, X, Y, Z)`` of fixed and moving; signed ones from the masks' edges.
    counts
        ``(B, X, Y, Z)`` of the fixed brain's voxels; their sum is 1.
    displacement
        ``(B, 3, X, Y, Z)`` voxels of the window.
    """

    seen: Seen
    images: Tensor
    distances: Tensor
    counts: Tensor
    displacement: Tensor


def draw(bendings: Bendings, batch: int, rng: np.random.Generator) -> Batch:
    """Pairs of a step."""
    masked = bool(rng.random() > _MASKLESS)
    drawn = [bendings.draw(rng) for _ in range(batch)]
    whole = torch.stack([p.images for p in drawn]), torch.stack([p.masks for p in drawn])
    images, masks = (avg_pool3d(part, 2) for part in whole)
    displacement = avg_pool3d(torch.stack([p.displacement for p in drawn]), 2)
    inside = masks[:, 0]
    return Batch(
        prepared(whole[0], whole[1] if masked else None),
        images,
        signed_distance(masks.flatten(0, 1)[:, None]).reshape(masks.shape),
        inside / inside.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1),
        displacement,
    )


def losses(network: DeformationNetwork, batch: Batch) -> dict[str, Tensor]:
    """Errors of brain points, and differences of images and of shapes."""
    with quick_arithmetic(batch.images.device):
        velocity = network.one_way(batch.seen)
    found = displaced(velocity.float())
    many, inside = len(found), batch.counts
    # a little everywhere, so that nothing grows where nothing is asked
    counts = 0.95 * inside + 0.05 / inside[0].numel()
    off = ((found - batch.displacement).square().sum(dim=1) + 0.01).sqrt()
    moving = torch.stack([batch.images[:, 1], batch.distances[:, 1]], dim=1)
    image, distance = _carried(moving, found).unbind(dim=1)
    both = standardised(torch.stack([batch.images[:, 0], image], dim=1), _WINDOW)
    alike = gaussian_blur(both.prod(dim=1), [_WINDOW] * 3).square()
    apart = (batch.distances[:, 0] - distance).abs()
    return {
        "displacement": (counts * off).sum() / many,
        "image": _IMAGE * (1 - (inside * alike).sum() / many),
        "shape": _SHAPE * (inside * apart).sum() / many,
    }


@cache
def _fields() -> tuple[Modes, space.Grid]:
    """Waves of the window, and its voxels at half the resolution, in units of its voxels."""
    grids = []
    for many in (SAMPLES, VOXELS // 2):
        step = VOXELS / many
        affine = np.diag([step, step, step, 1.0])
        affine[:3, 3] = (step - 1) / 2
        grids.append(space.Grid.of((many,) * 3, affine))
    return Modes(grids[0]), grids[1]


def displaced(velocity: Tensor) -> Tensor:
    """Displacement at half the window's resolution of velocities ``(B, 3, M, M, M)``, voxels."""
    modes, grid = _fields()
    return exponential(modes.on(velocity, grid), grid, squarings=4)


def _carried(images: Tensor, displacement: Tensor) -> Tensor:
    """Images ``(B, C, X, Y, Z)`` read through displacements, voxels of the window."""
    _, grid = _fields()
    places = space.voxel_centers(grid.shape, images.device).to(images)
    indices = places + displacement.flatten(2).mT / 2
    return sample_linear(images, indices).reshape(images.shape)


# what is validated
_TRIALS: dict[str, dict[str, Any]] = {
    "fetal, tissue": {"what": "fetal", "kind": "tissue"},
    "fetal, EPI": {"what": "fetal", "kind": "epi"},
    "fetal, both, other contrast": {"what": "fetal", "kind": "both", "other_contrast": True},
    "fetal, both, no masks": {"what": "fetal", "kind": "both", "masked": False},
    "fetal, none": {"what": "fetal", "kind": "none"},
    "adult, tissue": {"what": "adult", "kind": "tissue"},
    "adult, EPI": {"what": "adult", "kind": "epi"},
    "organ, tissue": {"what": "organ", "kind": "tissue"},
}


def validate(network: DeformationNetwork, bendings: Bendings, count: int) -> str:
    """Judge a network on pairs of held-back anatomies; a Markdown table."""
    columns = ("pairs", "bent by, mm", "one step, no network", "left by the network", "part")
    rows = [[*columns, "95th percentile"]]
    for title, options in _TRIALS.items():
        trial = {"other_contrast": False, "clean": False} | options
        masked = trial.pop("masked", True)
        found = []
        for number in range(count):
            rng = np.random.default_rng([_VALIDATION_SEED, number])
            found.append(_judged(network, bendings.draw(rng, **trial), masked))
        before, step, after = np.array(found).mean(axis=0)
        worst = np.percentile([f[2] for f in found], 95)
        part = "" if trial["kind"] == "none" else f"{after / before:.2f}"
        mm = [f"{value:.2f}" for value in (before, step, after, worst)]
        rows.append([title, *mm[:3], part, mm[3]])
    return markdown_table(rows)


@torch.inference_mode()
def _judged(network: DeformationNetwork, pair: Bent, masked: bool) -> tuple[float, float, float]:
    """Mean displacement of the brain before, after one step, and after the network, mm."""
    seen = prepared(pair.images[None], pair.masks[None] if masked else None)
    true = avg_pool3d(pair.displacement, 2)
    inside = avg_pool3d(pair.masks[:1], 2)[0]

    def off(found: Tensor) -> float:
        apart = (found - true).norm(dim=0)
        return pair.spacing * float((inside * apart).sum() / inside.sum())

    step = displaced(seen.step)[0]
    return off(torch.zeros_like(true)), off(step), off(displaced(network(seen))[0])


_ABOUT = """# Deformation of two volumes that are aligned rigidly

A U-Net (`unimo_bids.networks.deformation`) that gives the velocity of a stationary field, of 15³
samples, in one pass. Synthetic pairs only (`unimo_bids.training.deform`): SynthSeg's adult label
maps (Apache-2.0), or nilearn's MNI152 maps without them; fetal label maps of Fidon et al. 2021
(CC0); procedural fetal heads and organs. In the table: pairs of held-back anatomies with artefacts
of their own, in a window of 60³ voxels; mean displacement over the brain (the given mask), mean
over pairs, and their 95th percentile. "One step" is what the network is given to improve on.
"""

RECIPE = Recipe(
    name="deform",
    network=DeformationNetwork,
    ground=Bendings,
    draw=draw,
    losses=losses,
    validate=validate,
    about=lambda _network: _ABOUT,
    examples="pairs",
)
