"""Head motion of a 4D series: from the file's voxels to a pose for every frame."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.motion.estimation import Estimation, Progress
from unimo_bids.motion.results import MotionEstimate, MotionSettings, Tracking

__all__ = [
    "MotionEstimate",
    "MotionSettings",
    "Tracking",
    "estimate_motion",
    "find_reference",
    "track_motion",
]


def track_motion(
    series: Any,
    affine: NDArray[np.float64],
    *,
    mask: NDArray[Any] | None = None,
    reference: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    settings: MotionSettings | None = None,
    progress: Progress | None = None,
) -> Tracking:
    """Follow the head through a series: the first half of `estimate_motion` (see there)."""
    with torch.inference_mode():
        return Estimation(series, affine, mask, device, settings, progress).track(reference)


def find_reference(series: Any, affine: NDArray[np.float64]) -> int:
    """Index of a still frame that looks like most others: what ``reference="auto"`` takes."""
    with torch.inference_mode():
        estimation = Estimation(series, affine, None, "cpu", None, None)
        estimation.scan("auto")
        return estimation.reference


def estimate_motion(
    series: Any,
    affine: NDArray[np.float64],
    *,
    mask: NDArray[Any] | None = None,
    reference: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    settings: MotionSettings | None = None,
    progress: Progress | None = None,
    tracking: Tracking | None = None,
) -> MotionEstimate:
    """Estimate the rigid head motion of a series.

    Parameters
    ----------
    series
        ``(X, Y, Z, T)`` array or anything indexed like one.
    affine
        ``(4, 4)`` voxel → RAS mm.
    mask
        What moves rigidly: ``(X, Y, Z)`` in the reference frame, bool or soft (0 … 1), or
        ``(X, Y, Z, T)``, one per frame: registration looks at the reference's, the others only
        say where the head's centre is. Without a mask, everything that is not air.
    reference
        Frame that poses are relative to; ``"auto"`` takes a still one.
    progress
        Called with the share done and what is being done.
    tracking
        Where to start, from `track_motion` or another tracker; its reference then counts.

    Examples
    --------
    >>> import nibabel
    >>> image = nibabel.load("sub-01_task-rest_bold.nii.gz")      # doctest: +SKIP
    >>> motion = estimate_motion(image.dataobj, image.affine)     # doctest: +SKIP
    >>> motion.poses.shape, set(motion.status)                    # doctest: +SKIP
    ((300, 4, 4), {'ok'})
    """
    with torch.inference_mode():
        estimation = Estimation(series, affine, mask, device, settings, progress)
        return estimation.refine(tracking or estimation.track(reference))
