"""Contrast that changes from frame to frame, and images that stand for all of it."""

from __future__ import annotations

import torch
from torch import Tensor

from unimo_bids.registration.thresholds import CONTRAST
from unimo_bids.spatial.grid import smooth_fields, voxel_centers

_TISSUES = 6  # classes of intensity; fewer merge tissues, more are noise


def contrast_changes(aligned: Tensor, mean: Tensor, weights: Tensor) -> bool:
    """Whether aligned frames ``(B, X, Y, Z)`` differ in contrast.

    Where another echo, preparation or inversion time gives frames another contrast, no gain and
    offset of one image explains them, but few more images do: the first carries at least 1 % of
    the variance, three (fewer where frames are few) two thirds of what is left, which residual
    motion, noise or physiology do not; and about three frames share the first, or it is one that
    is torn.
    """
    complete = (weights > 0.5) & torch.isfinite(aligned).all(dim=0)
    if len(aligned) < CONTRAST.fewest or int(complete.sum()) < 100:
        return False
    energy, loadings, total = _spectrum(aligned, mean, complete)
    first, shared_by = float(energy[0]), 1 / float(loadings[:, 0].pow(4).sum())
    few = min(3, len(aligned) // 6)  # of few frames, three images are half of all there are
    return (
        first > CONTRAST.share * total
        and float(energy[:few].sum()) > CONTRAST.of_rest * float(energy.sum())
        and shared_by >= CONTRAST.shared_by
    )


def tissue_images(volume: Tensor, weights: Tensor) -> Tensor:
    """Share of each class of intensity in each voxel, ``(K, X, Y, Z)``.

    Any contrast in which the tissues of `volume` are told apart is about a combination of these
    and a constant. The classes are those of k-means; a value between two centres belongs to both
    in part, as a voxel at a border does. The darkest is left out: the constant stands for it.
    """
    values = volume[weights > 0.5]
    values = values[:: max(1, len(values) // 50_000)].contiguous()
    centers = torch.quantile(values, torch.linspace(0.03, 0.97, _TISSUES).to(values))
    for _ in range(20):
        nearest = torch.bucketize(values, ((centers[1:] + centers[:-1]) / 2).contiguous())
        members = torch.stack([values[nearest == k].mean() for k in range(_TISSUES)])
        centers = torch.where(torch.isfinite(members), members, centers).sort().values
    steps = centers.diff().clamp(min=1e-6 * float(values.abs().max()) + 1e-12)
    # how many of the steps between the centres a value has climbed, the last one in part
    climbed = [((volume - c) / s).clamp(0, 1) for c, s in zip(centers, steps, strict=False)]
    return torch.stack(
        [a - b for a, b in zip(climbed, [*climbed[1:], torch.zeros_like(volume)], strict=True)]
    )


def leading_images(aligned: Tensor, mean: Tensor, weights: Tensor, most: int) -> Tensor:
    """What aligned frames differ by most beside gain, offset and a receive field, ``(J, X, Y, Z)``.

    At most so many images; those that carry little, or do not stand out from the rest, are noise.
    """
    complete = (weights > 0.5) & torch.isfinite(aligned).all(dim=0)
    energy, loadings, total = _spectrum(aligned, mean, complete)
    of_rest = float(energy[len(energy) // 2 :].median())
    stand_out = int((energy > max(CONTRAST.leading * total, CONTRAST.above_rest * of_rest)).sum())
    return common_images(aligned, mean, weights, loadings[:, : min(most, stand_out)])


def common_images(aligned: Tensor, mean: Tensor, weights: Tensor, loadings: Tensor) -> Tensor:
    """Images that, with the mean, make up the contrasts of all frames, ``(J, X, Y, Z)``.

    Parameters
    ----------
    aligned
        ``(B, X, Y, Z)`` frames without their motion, NaN where they did not see the place.
    mean
        ``(X, Y, Z)`` of them.
    loadings
        ``(B, J)`` how much of each image is in each frame (`align_jointly`).
    """
    complete = (weights > 0.5) & torch.isfinite(aligned).all(dim=0)
    if loadings.shape[1] == 0 or int(complete.sum()) < 2:
        return mean[None][:0]
    rest = torch.nan_to_num(aligned - _explained(aligned, mean, complete))
    images = torch.tensordot(loadings.T.to(rest), rest, dims=1)
    brightness = mean[complete].std() / images[:, complete].std(dim=1)
    return (images * brightness[:, None, None, None]).to(mean)


def _spectrum(aligned: Tensor, mean: Tensor, complete: Tensor) -> tuple[Tensor, Tensor, float]:
    """What frames differ by beside gain, offset and a receive field, the strongest image first.

    Energy ``(B,)`` of each image, how much of it is in each frame ``(B, B)`` by columns, and the
    energy of the frames themselves.
    """
    data = aligned[:, complete].double()
    residual = data - _explained(aligned, mean, complete)[:, complete]
    energy, loadings = torch.linalg.eigh(residual @ residual.T)
    total = float((data - data.mean(dim=1, keepdim=True)).square().sum())
    return energy.flip(0), loadings.flip(1), total


def _explained(aligned: Tensor, mean: Tensor, complete: Tensor) -> Tensor:
    """What gain, offset and a receive field make of the mean to explain each frame, float64."""
    average = torch.nan_to_num(mean).double()
    size = torch.tensor(mean.shape, dtype=torch.float64, device=mean.device)
    place = 2 * voxel_centers(mean.shape, mean.device) / (size - 1).clamp(min=1) - 1
    fields = smooth_fields(place).reshape(-1, *mean.shape) * average
    basis = torch.cat([average[None], torch.ones_like(average)[None], fields])
    fit = torch.linalg.lstsq(basis[:, complete].T, aligned[:, complete].double().T).solution
    return torch.tensordot(fit.T, basis, dims=1)
