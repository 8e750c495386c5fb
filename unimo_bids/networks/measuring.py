"""What the pose network says of the frames of a series, by what they agree on.

Frames are compared with the mean of their representations, each turned back by its own pose. That
mean has little of any one frame's noise, and no frame is special: poses of all, the reference's
too, lead from one space of the head, which is about the reference's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unimo_bids.networks.alignment import Alignment, Representation, align, together
from unimo_bids.networks.pose import IMAGE_TERMS, SHAPE_TERMS, Volumes
from unimo_bids.spatial import rigid

EVIDENCE = 13  # numbers that tell how well a frame was measured
DISAGREEMENT = 2  # vectors
_ROUNDS = 3  # of agreement
_FARTHEST = 30.0  # mm: what is further off is just wrong


@dataclass(frozen=True)
class Measured:
    """T frames of a series.

    Attributes
    ----------
    poses
        ``(T, 4, 4)`` float64 mm, head → frame.
    direct
        ``(T, 4, 4)`` as the network has it without the others: reference → frame.
    evidence
        ``(T, EVIDENCE)`` what is left after alignment by both, by image and by shape; whether there
        was a shape; how much the terms weigh; how far shape differs from image.
    disagreement
        ``(T, DISAGREEMENT, 3)`` mm, turn and shift from image's pose to shape's, in the head's
        space about its centre; turns are at the head's radius.
    center
        ``(3,)`` mm, of the head in its space.
    """

    poses: Tensor
    direct: Tensor
    evidence: Tensor
    disagreement: Tensor
    center: Tensor


def stacked(volumes: Volumes) -> Representation:
    """Image's and shape's representation as one; a shape that nobody saw has no weight."""
    one, nothing = torch.ones(()), torch.zeros(())
    if volumes.shape is not None:
        return together((volumes.image, volumes.shape), (one, one))
    (k, m), image = SHAPE_TERMS, volumes.image
    absent = Representation(image.points[:, :k], image.vectors[:, :m], image.weights[:, : k + m])
    return together((image, absent), (one, nothing))


def measure(frames: Representation, reference: int, radius: float, share: float) -> Measured:
    """Compare frames, known by `stacked` representations in the world, mm."""
    points, weights = frames.points.double(), frames.weights.double()
    many = points.shape[1]
    of_reference = weights[reference, :many, None] / weights[reference, :many].sum()
    center = (of_reference * points[reference]).sum(0)
    both = Representation((points - center) / radius, frames.vectors.double(), weights)
    fused = Representation(both.points, both.vectors, weights * _shares(share).to(weights))
    every = [0] * len(points)
    direct = align(fused[[reference] * len(points)], fused)
    agreed = direct
    for _ in range(_ROUNDS):
        agreed = align(_agreement(fused, agreed)[every], fused)
    mean = _agreement(both, agreed)[every]
    by_image = align(_part(mean, image=True), _part(both, image=True))
    masked = weights[:, IMAGE_TERMS[0]] > 0
    seen = masked[:, None].double()
    by_shape = _where_seen(masked, mean, both, by_image)
    turn, shift = rigid.to_parameters(rigid.inverse(by_image.poses) @ by_shape.poses)
    apart = radius * torch.stack([turn, shift], dim=1) * seen[..., None]
    length = apart.norm(dim=-1)
    evidence = torch.cat(
        [
            agreed.evidence,
            by_image.evidence,
            by_shape.evidence * seen,
            seen,
            weights.sum(-1, keepdim=True).log(),
            length.log1p(),
        ],
        dim=1,
    )
    shortened = apart / (1 + length / _FARTHEST)[..., None]
    return Measured(
        _in_mm(agreed, center, radius), _in_mm(direct, center, radius), evidence, shortened, center
    )


def _where_seen(
    masked: Tensor, mean: Representation, both: Representation, by_image: Alignment
) -> Alignment:
    """Alignment by shape of frames that have a mask; of the others that by image, as it is."""
    poses, evidence = by_image.poses.clone(), by_image.evidence.clone()
    if bool(masked.any()):  # nothing can be solved from terms that all have no weight
        found = align(_part(mean[masked], image=False), _part(both[masked], image=False))
        poses[masked], evidence[masked] = found.poses, found.evidence
    return Alignment(poses, evidence)


def _shares(share: float) -> Tensor:
    """Of the weight of every term."""
    (k, m), (i, j) = IMAGE_TERMS, SHAPE_TERMS
    parts = [(k, 1 - share), (i, share), (m, 1 - share), (j, share)]
    return torch.cat([torch.full((many,), one) for many, one in parts])


def _part(both: Representation, *, image: bool) -> Representation:
    k, m = IMAGE_TERMS
    points, vectors = (slice(0, k), slice(0, m)) if image else (slice(k, None), slice(m, None))
    of_points, of_vectors = both.weights.tensor_split([both.points.shape[1]], dim=1)
    return Representation(
        both.points[:, points],
        both.vectors[:, vectors],
        torch.cat([of_points[:, points], of_vectors[:, vectors]], dim=1),
    )


def _agreement(frames: Representation, found: Alignment) -> Representation:
    """Mean ``(1, ...)`` of frames turned back, each by how well its terms fit."""
    back = rigid.inverse(found.poses)
    fit = (-found.evidence[:, :1]).exp().clamp(max=1e3) * frames.weights
    share = fit / fit.sum(0).clamp(min=1e-12)
    many = frames.points.shape[1]
    points = (share[:, :many, None] * rigid.transform(back, frames.points)).sum(0)
    vectors = (share[:, many:, None] * (frames.vectors @ back[:, :3, :3].mT)).sum(0)
    return Representation(points[None], vectors[None], frames.weights.mean(0)[None])


def _in_mm(found: Alignment, center: Tensor, radius: float) -> Tensor:
    """Poses about the centre in radii, in mm about the origin."""
    rotation = found.poses[:, :3, :3]
    place = radius * found.poses[:, :3, 3] + center
    return rigid.from_rotation(rotation, place - (rotation @ center[:, None])[..., 0])
