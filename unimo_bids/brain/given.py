"""A brain mask that another program, or a person, has made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unimo_bids.brain.mask import BrainMask, brain_radius
from unimo_bids.motion.masks import MaskError


def given_brain(mask: NDArray[np.float32], affine: NDArray[np.float64]) -> BrainMask:
    """Believe a mask ``(X, Y, Z)``, hard or soft (0 … 1)."""
    inside = mask > 0.5
    if not inside.any():
        raise MaskError("the mask is empty")
    return BrainMask(
        mask=inside,
        probability=np.asarray(mask, dtype=np.float32),
        radius_mm=brain_radius(inside, affine),
        method="given mask",
    )
