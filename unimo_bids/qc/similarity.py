"""How alike two volumes are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def correlation(
    volume: npt.NDArray[np.floating],
    template: npt.NDArray[np.floating],
    weights: npt.NDArray[np.floating],
) -> float:
    """Weighted Pearson correlation of two volumes ``(X, Y, Z)``; NaN if one of them is flat."""
    inside = weights > 0
    w = weights[inside].astype(np.float64)
    a, b = volume[inside].astype(np.float64), template[inside].astype(np.float64)
    if w.sum() == 0:
        return float("nan")
    a -= np.average(a, weights=w)
    b -= np.average(b, weights=w)
    power = (w @ a**2) * (w @ b**2)
    return float((w * a) @ b / np.sqrt(power)) if power > 0 else float("nan")
