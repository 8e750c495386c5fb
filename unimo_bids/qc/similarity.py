"""How alike two volumes are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


class Likeness:
    """Weighted Pearson correlation of volumes ``(X, Y, Z)`` with a template.

    Parameters
    ----------
    template
        ``(X, Y, Z)``
    weights
        ``(X, Y, Z)`` of its voxels.
    """

    def __init__(
        self, template: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]
    ) -> None:
        self._inside = np.flatnonzero(weights > 0)
        self._weights = weights.ravel()[self._inside].astype(np.float64)
        self._deviations = self._centered(template)
        self._power = float(self._weights @ self._deviations**2)

    def __call__(self, volume: npt.NDArray[np.floating]) -> float:
        """Correlation of a volume; NaN if it or the template is flat."""
        deviations = self._centered(volume)
        weighted = self._weights * deviations
        power = float(weighted @ deviations) * self._power
        return float(weighted @ self._deviations / np.sqrt(power)) if power > 0 else float("nan")

    def _centered(self, volume: npt.NDArray[np.floating]) -> Float64:
        values = volume.ravel()[self._inside].astype(np.float64)
        return values - np.average(values, weights=self._weights) if values.size else values
