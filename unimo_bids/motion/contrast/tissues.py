"""Frames in which a tissue is brighter or darker than in the others: one image, and its tissues.

Where the bright half of a head brightens, its borders seem to move, and one image with a gain draws
such frames aside, all by the same. Then frames of one kind make an image of their own; with the
classes of its intensity beside it, that explains the others, and the offset is gone. Only what
is then explained far better is taken: classes bend to more than one image does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.refinement import Refined, refine
from unimo_bids.motion.scan import MOST_FRAMES, Scan
from unimo_bids.motion.template import robust_mean
from unimo_bids.motion.thresholds import TISSUES
from unimo_bids.motion.ways import Way
from unimo_bids.registration.contrast import tissue_images

_TOLD = (
    "In {} of {} frames tissues are of other brightness than in the others: these frames were "
    "registered to each tissue of the others, which explains them far better."
)


def by_tissues(scan: Scan, way: Way) -> tuple[Way, tuple[str, ...]]:
    """The way by one image, with frames unlike it registered to tissues; a sentence if any.

    Parameters
    ----------
    way
        By one image.
    """
    unlike = promising(scan, way.refined.poses)
    if not unlike.any():
        return way, ()
    alike = scan.usable & ~unlike
    # the kind that tells more tissues apart explains the other
    for own, others in ((alike, unlike), (unlike, alike)):
        if own.sum() >= TISSUES.fewest:
            refined, images, better = _explained(scan, way.refined.poses, own, others)
            if better.any():
                told = _TOLD.format(better.sum(), len(better))
                return replace(way, refined=refined, images=images), (told,)
    return way, ()


def _explained(
    scan: Scan, poses: Tensor, own: NDArray[np.bool_], others: NDArray[np.bool_]
) -> tuple[Refined, Tensor, NDArray[np.bool_]]:
    """Frames registered to the mean of frames of their own, and what tissues explain far better."""
    # a mean of both kinds has the borders of neither
    kind = np.flatnonzero(own)
    chosen = kind[:: -(-len(kind) // MOST_FRAMES)].tolist()
    mean = robust_mean(scan.aligned(poses, chosen))
    template = scan.placed(mean[None], scan.reference_image)
    refined = refine(scan, template, poses, scan.usable)
    images = with_tissues(template, scan.head.weights)
    found = refine(scan, images, poses, others)
    before, after = (1 - one.similarity**2 for one in (refined, found))
    better = others & (after < (1 - TISSUES.worth) * before)
    refined.take(found, np.flatnonzero(better))
    return refined, images, better


def with_tissues(template: Tensor, weights: Tensor) -> Tensor:
    """A template ``(1, X, Y, Z)`` and its tissues, ``(J, X, Y, Z)``."""
    # the darkest class that is told apart follows from the image and the others
    return torch.cat([template, tissue_images(template[0], weights)[1:]])


def promising(scan: Scan, poses: Tensor) -> NDArray[np.bool_]:
    """Frames ``(T,)`` of which the reference's tissues leave less than the reference does.

    By a coarse look, at poses ``(T, 4, 4)``.
    """
    level, found = scan.coarse.level, np.zeros(scan.frames.count, dtype=bool)
    images = level.image(with_tissues(scan.reference_image[None], scan.head.weights))
    shown = scan.read_coarse(images, poses[scan.reference].expand(len(images), 4, 4))
    every = torch.cat([torch.ones_like(shown[:1]), shown]).T
    for chunk in scan.frames.chunks(np.flatnonzero(scan.usable).tolist()):
        rows = list(chunk)
        frames = scan.read_coarse(scan.coarse.images[rows].float(), poses[rows]).T
        none, one, all_ = (_left(every[:, :many], frames) for many in (1, 2, every.shape[1]))
        least = torch.maximum(TISSUES.worth * one, TISSUES.share * none)
        found[rows] = (one - all_ > least).cpu().numpy()
    found[scan.reference] = False
    # a part without signal is no tissue
    found[[t for t in np.flatnonzero(found).tolist() if scan.frames.lost([t]) is not None]] = False
    return found


def _left(basis: Tensor, frames: Tensor) -> Tensor:
    """What a basis ``(N, K)`` leaves of frames ``(N, B)``, sum of squares ``(B,)``."""
    fit = basis @ torch.linalg.lstsq(basis, frames).solution
    return (frames - fit).square().sum(dim=0)
