"""The rigid transform between two volumes, whatever their grids: starts, then Gauss–Newton.

The network's pose, aligned centres and no motion at all are refined coarsely side by side; unless
the network is sure, and right as far as can be seen, all rotations are searched. Each is refined at
full resolution, and the one that explains most is the answer; how far the next one is behind says
whether to believe it (`doubts`). Until the last step volumes are evened:
what lies still in the scanner, as the coils' sensitivity, would pull a turned head back. Where
contrasts differ, classes of the fixed volume's intensity stand for its tissues.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.brain.head import ADULT_RADIUS
from unimo_bids.registration.contrast import tissue_images
from unimo_bids.registration.doubts import Evidence, Rivals, doubts
from unimo_bids.registration.gauss_newton import Registration, register
from unimo_bids.registration.levels import Level, make_level
from unimo_bids.registration.pose_finder import PoseFinder
from unimo_bids.registration.resolution import mixed, mostly_own
from unimo_bids.registration.search import in_all_rotations, search_poses
from unimo_bids.registration.sides import REACH, Side, make_side
from unimo_bids.registration.target import make_target
from unimo_bids.registration.thresholds import PAIR, RESOLUTION
from unimo_bids.registration.uncertainty import block_covariance
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, inside
from unimo_bids.spatial.interpolation import sample_linear
from unimo_bids.spatial.region import Region
from unimo_bids.words import Fusion, IntensityModel

Affine = NDArray[np.float64]
Volume = NDArray[np.generic]

_COARSE_POINTS, _FINE_POINTS, _FINE_BLUR = 8_192, 30_000, 0.7
# radii that coarse poses of one place may differ by: a fifth of the fine blur of usual voxels
_SAME = 0.01


@dataclass(frozen=True)
class PairPose:
    """Rigid transform from one volume to another, and how far it can be trusted.

    Attributes
    ----------
    pose
        ``(4, 4)`` float64 RAS mm, fixed → moving.
    center
        ``(3,)`` RAS mm, of what was registered, in the fixed volume.
    covariance
        ``(6, 6)`` of a small motion of the fixed volume before the pose: rotation vector (rad)
        about `center` and translation (mm); None without refinement.
    similarity
        Correlation of the moving volume with the fixed one at the pose, 0 … 1.
    runner_up
        The same at the best pose that is clearly another; None if there was none to compare with.
    confidence
        The network's, that its rotation is within 15 degrees; None without network.
    start
        What was refined: "network", "centres", "rest" or "search".
    doubts
        Why the pose may be wrong, a sentence each; none for one that can be believed.
    """

    pose: Affine
    center: NDArray[np.float64]
    covariance: NDArray[np.float64] | None
    similarity: float
    runner_up: float | None
    confidence: float | None
    start: str
    doubts: tuple[str, ...]


def register_volumes(
    fixed: Volume,
    fixed_affine: Affine,
    moving: Volume,
    moving_affine: Affine,
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    refine: bool = True,
    network: bool = True,
    fusion: Fusion = "information",
    device: str | torch.device = "cpu",
) -> PairPose:
    """Find the rigid transform between two volumes of the same thing.

    Parameters
    ----------
    fixed, moving
        ``(X, Y, Z)``, each on a grid of its own.
    fixed_affine, moving_affine
        ``(4, 4)`` voxel → RAS mm.
    fixed_mask, moving_mask
        What moves rigidly, bool or soft (0 … 1), each on its volume's grid. Without the fixed one,
        everything that is not air; without the moving one, the network goes by the image alone.
    refine
        Without it the pose is the network's answer as it stands.
    network
        Ask the network at all.
    fusion
        How it brings together image and shape.

    Examples
    --------
    >>> found = register_volumes(a, affine_a, b, affine_b)            # doctest: +SKIP
    >>> moving_points = found.pose[:3, :3] @ points + found.pose[:3, 3:]  # doctest: +SKIP
    """
    if not (refine or network):
        raise ValueError("with neither network nor refinement there is nothing to do")
    with torch.inference_mode():
        a = make_side(fixed, fixed_affine, fixed_mask, device).around_head()
        b = make_side(moving, moving_affine, moving_mask, device)
        if moving_mask is not None:
            b = b.around_head()
        starts: dict[str, Tensor] = {}
        confidence = None
        if network:
            starts["network"], confidence = _by_network(a, b, fusion)
        rest = torch.eye(4, dtype=torch.float64, device=a.volume.device)
        if refine:
            shift = rest.clone()
            shift[:3, 3] = b.head.center - a.head.center
            starts |= {"centres": shift, "rest": rest}
            found = _refined(a, b, starts, sure=confidence is not None and confidence > PAIR.sure)
        else:
            fit = _Coarse(a, b).tried(starts["network"][None], tissues=False, refine=False)
            only = Rivals(float(_score(fit, a, b)), None)
            found = _Found(fit, "network", only, only)
        fit = found.fit
        pose = fit.poses[0]
        degrees = float(rigid.rotation_angle(starts["network"], pose)) if network else None
        mirror = _mirror_score(a, b, fusion) if network and refine else None
    evidence = Evidence(
        stiff=found.stiff,
        last=found.last,
        confidence=confidence,
        network_deg=degrees,
        refined=refine,
        body=a.body,
        mirror=mirror,
    )
    return PairPose(
        pose=pose.cpu().numpy(),
        center=a.head.center.cpu().numpy(),
        covariance=fit.covariance[0].cpu().numpy() if refine else None,
        similarity=float(fit.similarity[0]),
        runner_up=found.last.runner_up,
        confidence=confidence,
        start=found.start,
        doubts=doubts(evidence),
    )


def _by_network(a: Side, b: Side, fusion: Fusion) -> tuple[Tensor, float]:
    finder = PoseFinder(a.head.radius, a.volume.device, fusion)
    masked = a.mask is not None and b.mask is not None
    fixed, moving = (
        finder.look(side.volume, side.grid, side.mask if masked else None, side.head.center)
        for side in (a, b)
    )
    return finder.pose(fixed, moving)


def _mirror_score(a: Side, b: Side, fusion: Fusion) -> float:
    """How alike the first is to the mirror image of the second, from where the network has that."""
    image = b.mirrored()
    answer, _ = _by_network(a, image, fusion)
    fit = _fine(a.evened(), image.evened(), answer[None], tissues=False)
    return float(_score(fit, a, image))


@dataclass(frozen=True)
class _Found:
    """A pose, what it started from, how it does against others by the stiff model and the last."""

    fit: Registration
    start: str
    stiff: Rivals
    last: Rivals


def _refined(a: Side, b: Side, starts: dict[str, Tensor], sure: bool) -> _Found:
    """The pose that explains most at full resolution."""
    even = a.evened(), b.evened()
    coarse = _Coarse(*even)
    names, poses = list(starts), torch.stack(list(starts.values()))
    near = coarse.tried(poses, tissues=False)
    # with nothing to compare it with, a good coarse fit alone is no proof
    if sure and float(_score(near, a, b).max()) > PAIR.explained:
        found = [near]
    else:
        poses = torch.cat([poses, coarse.searched()])
        names += ["search"] * (len(poses) - len(names))
        found = [coarse.tried(poses, tissues=tissues) for tissues in (False, True)]
    apart = [_distinct(tried.poses, a.head) for tried in found]
    fine = [
        _fine(*even, tried.poses[rows], tissues=bool(tissues))
        for tissues, (tried, rows) in enumerate(zip(found, apart, strict=True))
    ]
    scores = [_score(one, a, b) for one in fine]
    left = [1 - float(score.max()) ** 2 for score in scores]
    tissues = left[-1] < PAIR.tissues * left[0]
    tried, score = fine[tissues], scores[tissues]
    best = int(score.argmax())
    distinct = _moved(tried.poses, tried.poses[best], a.head) > PAIR.distinct * a.head.radius
    rows = [best, int(score.where(distinct, -1).argmax())][: 1 + bool(distinct.any())]
    stiff = _rivals(score[rows])
    fit, last = _last(a, b, even, tried.poses[rows], tissues=tissues)
    return _Found(fit, names[apart[tissues][best]], stiff, last)


def _distinct(poses: Tensor, head: Region) -> list[int]:
    """Of poses ``(N, 4, 4)`` the first of each place: from all that are there one is refined."""
    chosen: list[int] = []
    for row, pose in enumerate(poses):
        if not chosen or float(_moved(poses[chosen], pose, head).min()) > _SAME * head.radius:
            chosen.append(row)
    return chosen


def _last(
    a: Side, b: Side, even: tuple[Side, Side], poses: Tensor, *, tissues: bool
) -> tuple[Registration, Rivals]:
    """A pose and its runner-up refined once more, evened and as they are: what explains more."""
    # averages near an edge differ between the volumes: intensities as they are may fit better
    model: IntensityModel = "gain" if tissues else "bias"
    ways = [_fine(*way, poses, tissues=tissues, model=model, last=True) for way in (even, (a, b))]
    scores = torch.stack([_score(one, a, b) for one in ways])
    chosen = int(scores[:, 0].argmax())
    score, other = float(scores[chosen, 0]), float(scores[1 - chosen, 0])
    fit = ways[chosen].rows(slice(1))
    # what a model makes of the coils' sensitivity is an error that all parts of a head share
    apart = rigid.inverse(fit.poses) @ ways[1 - chosen].poses[:1]
    believed = min(1.0, other / max(score, 1e-6))
    shared = [
        (PAIR.shared * believed) ** 2 * part.square().mean().expand(3)
        for part in rigid.to_parameters(apart, a.head.center)
    ]
    covariance = fit.covariance + torch.diag(torch.cat(shared))
    return replace(fit, covariance=covariance), _rivals(
        torch.cat([scores[chosen, :1], scores[:, 1:].amax(dim=0)])
    )


def _rivals(scores: Tensor) -> Rivals:
    """Of the scores of a pose and its runner-up, or of a pose alone."""
    best, *others = scores.tolist()
    return Rivals(best, *others) if others else Rivals(best, None)


def _moved(poses: Tensor, other: Tensor, head: Region) -> Tensor:
    """How far poses ``(N, 4, 4)`` put the head's surface from another's place, ``(N,)`` mm."""
    return rigid.displacement(poses, other.expand_as(poses), head.surface()).amax(dim=-1)


class _Coarse:
    """Both volumes at a resolution at which any start within half a head's radius is found."""

    def __init__(self, fixed: Side, moving: Side) -> None:
        self.fixed, self.moving = fixed, moving
        widest = max(side.grid.widest for side in (fixed, moving))
        self.blur = max(5.0 * fixed.head.radius / ADULT_RADIUS, 0.7 * widest)
        self.levels = [side.level(self.blur, spacing=1.2 * self.blur) for side in (fixed, moving)]
        self.weights = self.levels[0].image(fixed.head.weights).clamp(0, 1)
        self.sampled = self.levels[1].image(moving.volume)[None, None]

    def tried(self, poses: Tensor, *, tissues: bool, refine: bool = True) -> Registration:
        """Register from every start ``(N, 4, 4)``, or only judge it."""
        images = _images(self.fixed, tissues=tissues)
        target = make_target(
            [self.levels[0].image(images)],
            self.weights,
            self.levels[0],
            center=self.fixed.head.center,
            radius=self.fixed.head.radius,
            max_points=_COARSE_POINTS,
        )
        return register(
            target,
            self.sampled.expand(len(poses), -1, -1, -1, -1),
            poses,
            level=self.levels[1],
            iterations=20 if refine else 1,
            tolerance=0.05 if refine else 0.0,
        )

    def searched(self) -> Tensor:
        """Poses ``(N, 4, 4)`` from all rotations and translations.

        On one grid for both volumes, each with the centre of its head in the grid's.
        """
        spacing = 1.2 * self.blur
        centers = [side.head.center for side in (self.fixed, self.moving)]
        farthest = (self.moving.grid.corners() - centers[1].cpu()).abs().amax(dim=0)
        reach = torch.clamp(farthest, min=REACH * self.fixed.head.radius)
        x, y, z = (2 * (reach / spacing).ceil().long() + 1).tolist()
        affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
        affine[:3, 3] = -spacing * (torch.tensor([x, y, z]) - 1) / 2
        device = self.sampled.device
        common = make_level(Grid((x, y, z), affine), blur=0.0, device=device)
        grid = common.grid.points(device)

        def at(image: Tensor, level: Level, center: Tensor) -> Tensor:
            # beyond the volume its border goes on: no edge where none was seen
            indices = rigid.transform(level.grid.to_index.to(grid), grid + center.to(grid)).float()
            return sample_linear(image[None, None], indices[None]).reshape(x, y, z)

        fixed = self.levels[0].image(self.fixed.volume)
        head = in_all_rotations(
            at(fixed, self.levels[0], centers[0]),
            at(self.weights, self.levels[0], centers[0]),
            common,
            center=torch.zeros(3, dtype=torch.float64, device=device),
            radius=self.fixed.head.radius,
        )
        found = search_poses(head, at(self.sampled[0, 0], self.levels[1], centers[1])[None])[0]
        found[:, :3, 3] += centers[1].to(found) - found[:, :3, :3] @ centers[0].to(found)
        return found


def _fine(
    fixed: Side,
    moving: Side,
    poses: Tensor,
    *,
    tissues: bool,
    model: IntensityModel = "gain",
    last: bool = False,
) -> Registration:
    large = mixed(fixed.head) or mixed(moving.head)
    edges = RESOLUTION.blur if large else _FINE_BLUR
    blur = edges * max(side.grid.widest for side in (fixed, moving))
    levels = [side.level(blur, cubic=True) for side in (fixed, moving)]
    weights = levels[0].image(fixed.head.weights).clamp(0, 1)
    target = make_target(
        [levels[0].image(_images(fixed, tissues=tissues))],
        mostly_own(weights) if large else weights,
        levels[0],
        center=fixed.head.center,
        radius=fixed.head.radius,
        model=model,
        max_points=_FINE_POINTS,
    )
    sampled = levels[1].sampled(moving.volume[None])[:, None].expand(len(poses), -1, -1, -1, -1)
    found = register(target, sampled, poses, level=levels[1])
    if not last:
        return found
    covariance = block_covariance(target, sampled, found.poses, level=levels[1])
    return replace(found, covariance=covariance)


def _images(side: Side, *, tissues: bool) -> Tensor:
    """Images that represent a volume, ``(J, X, Y, Z)``."""
    if not tissues:
        return side.volume[None]
    smooth = side.level(0.5 * side.grid.widest).image(side.volume)
    return tissue_images(smooth, side.head.weights)


def _score(found: Registration, a: Side, b: Side) -> Tensor:
    """Their score, less where masks of both volumes would miss each other."""
    score = found.score
    if a.mask is None or b.mask is None:
        return score
    voxels = (a.head.weights > 0.5).nonzero().double()
    points = rigid.transform(a.grid.affine.to(voxels), voxels[:: max(1, len(voxels) // 2000)])
    onto = b.grid.to_index.to(found.poses) @ found.poses
    images = b.head.weights[None, None].expand(len(onto), -1, -1, -1, -1)
    indices = rigid.transform(onto, points)
    within = sample_linear(images, indices.float())[:, 0] * inside(indices, b.grid.shape)
    enough = PAIR.agree * min(1.0, (b.head.radius / a.head.radius) ** 3)  # a smaller one holds less
    return score * (within.mean(dim=-1) / enough).clamp(max=1)
