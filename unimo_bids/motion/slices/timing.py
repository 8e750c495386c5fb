"""When slices were acquired, from what a BIDS sidecar says; nothing of it is believed unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unimo_bids.motion.slices.trajectory import AT_ONCE, SliceTimes

_AXES = {"i": 0, "j": 1, "k": 2}


def slice_times(
    metadata: Mapping[str, Any],
    shape: Sequence[int],
    repetition_time: float | None,
    header_axis: int | None = None,
) -> SliceTimes:
    """Times of a series' slices; a `ValueError` says in one sentence why they cannot be.

    Parameters
    ----------
    metadata
        ``SliceTiming``, and where they are there ``SliceEncodingDirection`` (``k`` where it is not)
        and ``MultibandAccelerationFactor``.
    shape
        ``(X, Y, Z, T)``
    repetition_time
        s, from frame to frame; None where nobody knows.
    header_axis
        Of the slices, as the image's header has it; None where it is silent.
    """
    try:
        times = np.array(metadata["SliceTiming"], dtype=np.float64)
    except (KeyError, ValueError, TypeError):
        times = np.empty(0)
    if times.ndim != 1 or times.size == 0:
        raise ValueError("SliceTiming is no list of seconds, one for each slice")
    direction = str(metadata.get("SliceEncodingDirection", "k"))
    if direction.removesuffix("-") not in _AXES:
        raise ValueError(f"SliceEncodingDirection {direction!r} is none of i, j, k, i-, j-, k-")
    axis = _AXES[direction[0]]
    if header_axis is not None and header_axis != axis:
        along = f"slices lie along {direction[0]} in the sidecar"
        raise ValueError(f"{along} and along {'ijk'[header_axis]} in the header")
    if len(times) != shape[axis]:
        raise ValueError(f"there are {len(times)} slice times for {shape[axis]} slices")
    if repetition_time is None or not repetition_time > 0:
        raise ValueError("no even RepetitionTime is known, which slice times need")
    if not np.isfinite(times).all() or times.min() < 0 or times.max() >= repetition_time:
        raise ValueError(f"slice times lie outside 0 … {repetition_time:g} s, the repetition time")
    if np.ptp(times) < AT_ONCE:
        raise ValueError("all slices have the same time")
    _check_bands(metadata.get("MultibandAccelerationFactor"), times)
    ordered = times[::-1].copy() if direction.endswith("-") else times
    return SliceTimes(axis, ordered, float(repetition_time))


def _check_bands(bands: object, times: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Refuse slice times that do not come in groups of as many as are excited at once."""
    if not isinstance(bands, int | float) or bands <= 1:
        return
    _, counts = np.unique(np.rint(times / AT_ONCE), return_counts=True)
    if len(times) % bands or counts.max() != bands:
        raise ValueError(
            f"slice times come in groups of up to {counts.max()}, the multiband factor is {bands:g}"
        )
