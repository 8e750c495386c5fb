"""From a run's image straight to a template, at any orientation, size and contrast.

The template is given the size of the run's brain, and its pose is found as that of any other
volume (`registration.pair`). A brain turned by half about any axis of its own is nearly as good a
fit, and in another contrast now and then the better one at first: all four are stretched to fit
(`affine`), and the one that shares most is the answer. If it is in doubt, all rotations are gone
through by what the heads share there. What is beyond doubt may be bent a little (`deformation`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.brain.mask import brain_radius
from unimo_bids.registration.levels import make_level
from unimo_bids.registration.pair import register_volumes
from unimo_bids.registration.search import rotation_grid
from unimo_bids.registration.sides import Side, make_side
from unimo_bids.spaces.affine import COARSE, FINE, Fit, TwoHeads, fit_affine
from unimo_bids.spaces.deformation import Deformation, cubes_around, find_deformation
from unimo_bids.spaces.thresholds import DOUBTS
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, inside
from unimo_bids.spatial.interpolation import sample_linear
from unimo_bids.spatial.region import centroid
from unimo_bids.spatial.warp import Affine, Composed, Field, Warp

_FINEST = 1 / 25  # of a brain's radius: the template's voxels where its pose is looked for
_ROTATIONS, _APART_DEG, _FEW = 576, 40.0, 4  # looked at where the answer is in doubt, and taken
_AROUND = 20.0  # mm of surroundings that are shown of an upright head


@dataclass(frozen=True)
class Head:
    """An image of a head ``(X, Y, Z)``, a soft mask of its brain (0 … 1), and the grid of both."""

    image: NDArray[np.floating]
    mask: NDArray[np.floating]
    grid: Grid

    @property
    def radius(self) -> float:
        """Radius of a ball with the brain's volume, mm; of a cut brain, from its widest section."""
        return brain_radius(self.mask > 0.5, self.grid.affine.numpy())

    @property
    def center(self) -> Tensor:
        """Of the brain, ``(3,)`` RAS mm."""
        return centroid(torch.from_numpy(np.asarray(self.mask > 0.5)), self.grid)

    def side(self, device: str) -> Side:
        """As it is registered."""
        return make_side(self.image, self.grid.affine.numpy(), self.mask, device)

    def coarser(self, spacing: float) -> Head:
        """The same with voxels of this size, if they are finer."""
        level = make_level(self.grid, blur=spacing / 3, spacing=spacing)
        image, mask = (
            level.image(torch.from_numpy(np.asarray(part, dtype=np.float32))).numpy()
            for part in (self.image, self.mask)
        )
        return Head(image, mask, level.grid)

    def scaled(self, factor: float) -> Head:
        """The same head, larger or smaller about the world's origin."""
        scale = torch.diag(torch.tensor([factor] * 3 + [1.0], dtype=torch.float64))
        return replace(self, grid=Grid(self.grid.shape, scale @ self.grid.affine))


@dataclass(frozen=True)
class SpacePose:
    """Where places of a template are in a run's image.

    Attributes
    ----------
    matrix
        ``(4, 4)`` float64 RAS mm, template → image.
    shared
        What both share there at low resolution, nats: mutual information, less what the masks
        are apart.
    runner_up
        The same of the best other way round.
    overlap
        Dice of the masks by the affine, where the image saw the place.
    seen
        How much of the template's brain the image saw, 0 … 1.
    start
        What the pose was found from, as in `PairPose`, or "half turn" or "all rotations".
    doubts
        Why it may be wrong, a sentence each; none if it can be believed.
    deformation
        What bends the template before; None if it was not asked.
    before
        Where places of a standard space are in the template, if another program has found that.
    """

    matrix: NDArray[np.float64]
    shared: float
    runner_up: float
    overlap: float
    seen: float
    start: str
    doubts: tuple[str, ...]
    deformation: Deformation | None = None
    before: Warp | None = None

    @property
    def field(self) -> Field | None:
        """Deformation of the template, if there is any."""
        return None if self.deformation is None else self.deformation.field

    @property
    def warp(self) -> Warp:
        """Template → image, or from the space that leads to the template."""
        affine = Affine(torch.from_numpy(self.matrix))
        first = self.field or self.before
        return affine if first is None else Composed(first, affine)

    @property
    def dice(self) -> float:
        """Of the masks as they are carried, where the image saw the place."""
        return self.overlap if self.deformation is None else self.deformation.overlap

    @property
    def lead(self) -> float:
        """How far the way round that was taken is ahead of the best other one, nats."""
        return self.shared - self.runner_up

    @property
    def stretches(self) -> NDArray[np.float64]:
        """Of the template along its three main axes, the largest first."""
        return np.asarray(np.linalg.svd(self.matrix[:3, :3], compute_uv=False))


def find_space(
    template: Head, run: Head, *, same_head: bool = False, device: str = "cpu"
) -> SpacePose:
    """Find the affine from a template to a run's image of any orientation and contrast.

    `same_head`: the template is an image of who is scanned: nothing is stretched or bent.
    """
    size = 1.0 if same_head else run.radius / template.radius
    small = template.coarser(_FINEST * template.radius)
    sized = small.scaled(size)
    pair = register_volumes(
        sized.image,
        sized.grid.affine.numpy(),
        run.image,
        run.grid.affine.numpy(),
        fixed_mask=sized.mask,
        moving_mask=run.mask,
        device=device,
    )
    scale = torch.diag(torch.tensor([size] * 3 + [1.0], dtype=torch.float64))
    start = torch.from_numpy(pair.pose) @ scale
    fixed, moving = (head.side(device).around_head() for head in (small, run))
    moving = moving.evened()
    turns = [start @ turn for turn in _half_turns(template.center)]
    fits = [fit_affine(fixed, moving, turn, COARSE, same_head=same_head) for turn in turns]
    names = [pair.start, *["half turn"] * 3]
    found = _best(fits, names, fixed, moving, same_head)
    if found.doubts:
        turns = _all_rotations(fixed, moving, size)
        fits += [fit_affine(fixed, moving, turn, COARSE, same_head=same_head) for turn in turns]
        found = _best(fits, [*names, *["all rotations"] * len(turns)], fixed, moving, same_head)
    if found.doubts or same_head:
        return found
    return replace(found, deformation=_deformation(fixed, moving, found))


def through(anatomy: SpacePose, before: Warp, template: Head, run: Head) -> SpacePose:
    """A standard space by way of an anatomical image, which another program has laid onto it.

    Parameters
    ----------
    anatomy
        Where the anatomical image's places are in the run.
    before
        Where the standard space's are in the anatomical image.
    """
    found = replace(anatomy, before=before)
    overlap, seen = _overlap(template.side("cpu"), run.side("cpu"), found.warp)
    found = replace(found, overlap=overlap, seen=seen)
    return replace(found, doubts=_doubts(found))


def _deformation(fixed: Side, moving: Side, found: SpacePose) -> Deformation:
    """What bends the template, if the masks do not agree less by it."""
    bent = find_deformation(fixed, moving, torch.from_numpy(found.matrix))
    overlap, _ = _overlap(fixed, moving, replace(found, deformation=bent).warp)
    if overlap < found.overlap:
        reason = f"the masks would overlap by a Dice of {overlap:.3f} only"
        return replace(bent, field=None, overlap=found.overlap, reason=reason)
    return replace(bent, overlap=overlap)


def _best(
    fits: list[Fit], names: list[str], fixed: Side, moving: Side, same_head: bool
) -> SpacePose:
    """The fit that shares most, refined, and how it does against those that are clearly others."""
    first = max(fits, key=lambda fit: fit.shared)
    head = fixed.head
    others = [
        fit.shared
        for fit in fits
        if float(rigid.displacement(fit.matrix, first.matrix, head.surface().cpu()).max())
        > DOUBTS.distinct * head.radius
    ]
    fine = fit_affine(fixed, moving, first.matrix, FINE, same_head=same_head)
    overlap, seen = _overlap(fixed, moving, Affine(fine.matrix))
    found = SpacePose(
        matrix=fine.matrix.numpy(),
        shared=first.shared,
        runner_up=max(others, default=0.0),
        overlap=overlap,
        seen=seen,
        start=names[fits.index(first)],
        doubts=(),
    )
    return replace(found, doubts=_doubts(found))


def _all_rotations(fixed: Side, moving: Side, size: float) -> list[Tensor]:
    """Starts ``(4, 4)`` from all rotations, the brains' centres on each other, the best few."""
    turns = rotation_grid(_ROTATIONS)
    centers = [side.head.center.cpu() for side in (fixed, moving)]
    matrices = rigid.from_rotation(size * turns, centers[1] - size * (turns @ centers[0]))
    heads = TwoHeads(fixed, moving, COARSE)
    shared = torch.tensor([heads.shared(matrix)[0] for matrix in matrices])
    chosen: list[Tensor] = []
    for number in shared.argsort(descending=True).tolist():
        one = matrices[number]
        if all(rigid.rotation_angle(one / size, other / size) > _APART_DEG for other in chosen):
            chosen.append(one)
        if len(chosen) == _FEW:
            break
    return chosen


def upright(found: SpacePose, center: Tensor) -> SpacePose:
    """The same pose without stretches: a head in its own size along the template's axes.

    `center`: ``(3,)`` RAS mm, of the brain in the run; it becomes the origin.
    """
    turn = rigid.nearest_rotation(torch.from_numpy(found.matrix[:3, :3]))
    matrix = rigid.from_rotation(turn, center.to(turn)).numpy()
    return replace(found, matrix=matrix, deformation=None, before=None)


def upright_grid(found: SpacePose, run: Head) -> Grid:
    """Cubes about as large as the run's voxels, around all of its brain along a pose's axes."""
    voxels = torch.from_numpy(np.argwhere(run.mask > 0.5)).double()
    world = rigid.transform(run.grid.affine, voxels)
    places = rigid.transform(torch.linalg.inv(torch.from_numpy(found.matrix)), world)
    return cubes_around(places, run.grid.cube, _AROUND, torch.eye(3, dtype=torch.float64))


def _half_turns(center: Tensor) -> list[Tensor]:
    """No turn, and one by half about each axis of the world through a centre, ``(4, 4)`` each."""
    turns = torch.pi * torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()
    return list(rigid.from_parameters(turns, torch.zeros(4, 3).double(), center.cpu()))


def _overlap(fixed: Side, moving: Side, warp: Warp) -> tuple[float, float]:
    """Dice of both masks where the run saw the place, and how much of the template's it saw."""
    masks = [side.mask.cpu() for side in (fixed, moving) if side.mask is not None]
    at = rigid.transform(moving.grid.to_index, warp(fixed.grid.points()))
    seen = inside(at, moving.grid.shape, margin=-0.5)
    there = (sample_linear(masks[1][None, None], at[None].float())[0, 0] > 0.5) & seen
    here = (masks[0] > 0.5).flatten()
    both = float((here & there).sum())
    in_view = float((here & seen).sum())
    return 2 * both / max(in_view + float(there.sum()), 1.0), in_view / max(float(here.sum()), 1.0)


def _doubts(found: SpacePose) -> tuple[str, ...]:
    doubts = []
    if found.lead < DOUBTS.lead:
        doubts.append(
            f"Turned otherwise, the template fits nearly as well ({found.runner_up:.2f} nats, as "
            f"it is {found.shared:.2f})."
        )
    if found.overlap < DOUBTS.overlap:
        doubts.append(
            f"The brain masks overlap by a Dice of {found.overlap:.2f} only; {DOUBTS.overlap:g} "
            "and more is usual."
        )
    long, _, short = found.stretches
    if long / short > DOUBTS.stretched:
        doubts.append(
            f"The template had to be stretched by {long:.2f} along one axis and by {short:.2f} "
            "along another."
        )
    return tuple(doubts)
