"""What was measured of a field in the scanner, read as a map in Hz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from unimo_bids.errors import InputError
from unimo_bids.files.series import Float32, Series, read_series, read_volume
from unimo_bids.pipeline.measured_field import MeasuredField

if TYPE_CHECKING:
    from unimo_bids.deformation.field_map import FieldMap

# quantile of a magnitude image that stands for tissue; what has less than that share of it is air
_BRIGHT, _DARK = 0.98, 0.1


def read_field_map(measured: MeasuredField) -> FieldMap:
    """Read a field map; several volumes in a file are averaged."""
    from unimo_bids.deformation.field_map import FieldMap
    from unimo_bids.deformation.phase import unwrapped

    image = read_series(measured.paths[0], single=True)
    signal = None if measured.magnitude is None else _signal(measured.magnitude, image)
    said = "the field map"
    if measured.kind == "field":
        hz = measured.scale * read_volume(measured.paths[0], image)
        weights = (hz != 0).astype(np.float32)  # where nothing was measured it is set to that
        weights = weights if signal is None else weights * signal
    else:
        phase, said = _phase(measured.paths, image)
        seen = np.ones(phase.shape, np.float32) if signal is None else signal
        phase, inside = unwrapped(phase, seen > 0)
        hz = (phase / (2 * np.pi * measured.scale)).astype(np.float32)
        weights = np.where(inside, seen, 0).astype(np.float32)
    field, certain = torch.from_numpy(hz), torch.from_numpy(weights)
    return FieldMap(field, certain, image.grid, measured.readout, said)


def _signal(path: Path, image: Series) -> Float32:
    """How much signal there is, squared, 1 where there is much; 0 in air."""
    signal = read_volume(path, image)
    share = (signal / max(float(np.quantile(signal, _BRIGHT)), 1e-12)).clip(0, 1)
    return np.where(share > _DARK, share**2, 0).astype(np.float32)


def _phase(paths: tuple[Path, ...], image: Series) -> tuple[np.ndarray, str]:
    """Phase between two echoes within ±π, ``(X, Y, Z)``, and the stored range taken for 2π."""
    from unimo_bids.deformation.phase import circle_of, wrapped

    phases, circles = [], []
    for path in paths:
        values = read_volume(path, image)
        circle = circle_of(values)
        if circle is None:
            low, high = values.min(), values.max()
            finding = f"phase from {low:g} to {high:g}: a full circle is none that is known"
            raise InputError(path, finding, "write it in radians")
        phases.append(values.astype(np.float64) * (2 * np.pi / circle))
        circles.append(f"{circle:.4g}")
    said = " and ".join(dict.fromkeys(circles))
    phase = phases[-1] if len(phases) == 1 else phases[1] - phases[0]
    return wrapped(phase), f"the field map (phase, {said} a full circle)"
