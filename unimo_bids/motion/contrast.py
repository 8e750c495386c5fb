"""Contrast that changes from frame to frame, and how to tell it from motion."""

from __future__ import annotations

import torch
from torch import Tensor

from unimo_bids.spatial import rigid
from unimo_bids.spatial.grids import smooth_fields, voxel_centers


def contrast_images(
    aligned: Tensor, mean: Tensor, weights: Tensor, shared_by: float = 3.0
) -> Tensor:
    """How frames differ in contrast: principal images beyond the mean, ``(J, X, Y, Z)``, J often 0.

    Where another echo, preparation or inversion time gives frames another contrast, no gain and
    offset of one image explains them, but a combination of few images does. An image is taken
    only if it (i) carries at least 1 % of the variance and half of what is left, which residual
    motion, noise or physiology do not, and (ii) is shared by at least `shared_by` frames: an image
    of one odd frame would explain that frame at any pose.
    """
    inside = weights > 0.5
    complete = inside & torch.isfinite(aligned).all(dim=0)
    if len(aligned) < 6 or int(complete.sum()) < 100:
        return mean[None][:0]
    data = aligned[:, complete].double()
    average = mean.double()
    # gain, offset and a receive field are no contrast: take them out first
    size = torch.tensor(mean.shape, dtype=torch.float64, device=mean.device)
    place = 2 * voxel_centers(mean.shape, mean.device) / (size - 1).clamp(min=1) - 1
    fields = smooth_fields(place).reshape(-1, *mean.shape) * average
    explained = torch.cat([average[None], torch.ones_like(average)[None], fields])
    basis = explained[:, complete].T
    loadings = torch.linalg.lstsq(basis, data.T).solution
    residual = data - (basis @ loadings).T
    total = float((data - data.mean(dim=1, keepdim=True)).square().sum())
    energy, vectors = torch.linalg.eigh(residual @ residual.T)
    images: list[Tensor] = []
    for value, frame_weights in zip(energy.flip(0), vectors.T.flip(0), strict=True):
        remaining = float(energy.sum()) - sum(float(v) for v in energy.flip(0)[: len(images)])
        shared = 1 / float(frame_weights.pow(4).sum())
        if float(value) < 0.01 * total or float(value) < 0.5 * remaining or shared < shared_by:
            break
        image = torch.zeros_like(average)
        for weight, frame, loading in zip(frame_weights, aligned, loadings.T, strict=True):
            rest = frame - torch.tensordot(loading, explained, dims=1)
            image += weight * torch.nan_to_num(rest)  # an unseen place has no say
        images.append((image / image[complete].std() * mean[complete].std()).to(mean))
    return torch.stack(images) if images else mean[None][:0]


def leap(before: Tensor, after: Tensor, last: Tensor, center: Tensor, radius: float) -> Tensor:
    """Where a geometric series of pose updates ends, ``(B, 4, 4)``.

    Poses found under the wrong contrast err by an amount that depends on the contrast, and images
    averaged with them carry that error: the two correct each other only by a fraction per round.
    With r the ratio of this round's updates Δ to the last round's, the rest of the way is
    ``Δ (r + r² + …)``.

    Parameters
    ----------
    before, after
        ``(B, 4, 4)`` poses before and after this round.
    last
        ``(B, 6)`` updates of the round before (`update`).
    """
    step = update(before, after, center, radius)
    ratio = float((step * last).sum() / (last * last).sum().clamp(min=1e-12))
    ratio = min(max(ratio, 0.0), 0.9)
    rest = ratio / (1 - ratio) * step
    further = rigid.from_parameters(rest[:, :3] / radius, rest[:, 3:], center.expand(len(rest), 3))
    return after @ further


def update(before: Tensor, after: Tensor, center: Tensor, radius: float) -> Tensor:
    """Six parameters, in mm at the head's surface, from poses to poses, ``(B, 6)``."""
    turn, shift = rigid.to_parameters(rigid.inverse(before) @ after, center.expand(len(before), 3))
    return torch.cat([turn * radius, shift], dim=-1)
