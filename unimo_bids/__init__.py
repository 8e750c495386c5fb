"""Head-motion correction of 4D fMRI, above all fetal fMRI.

>>> from unimo_bids import estimate_motion, correct_series, read_series

The names are imported when they are first used: ``import unimo_bids`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unimo_bids.files.series import read_series
    from unimo_bids.files.transforms import read_itk, write_itk
    from unimo_bids.motion.correction import correct_series
    from unimo_bids.motion.estimate import MotionEstimate, Tracking
    from unimo_bids.motion.estimation import estimate_motion, find_reference, track_motion
    from unimo_bids.motion.settings import MotionSettings
    from unimo_bids.qc.framewise import framewise_displacement
    from unimo_bids.registration.pair import PairPose, register_volumes

_HOMES = {
    "MotionEstimate": "unimo_bids.motion.estimate",
    "MotionSettings": "unimo_bids.motion.settings",
    "PairPose": "unimo_bids.registration.pair",
    "register_volumes": "unimo_bids.registration.pair",
    "correct_series": "unimo_bids.motion.correction",
    "Tracking": "unimo_bids.motion.estimate",
    "estimate_motion": "unimo_bids.motion.estimation",
    "find_reference": "unimo_bids.motion.estimation",
    "track_motion": "unimo_bids.motion.estimation",
    "framewise_displacement": "unimo_bids.qc.framewise",
    "read_itk": "unimo_bids.files.transforms",
    "read_series": "unimo_bids.files.series",
    "write_itk": "unimo_bids.files.transforms",
}

__all__ = [
    "MotionEstimate",
    "MotionSettings",
    "PairPose",
    "Tracking",
    "correct_series",
    "estimate_motion",
    "find_reference",
    "framewise_displacement",
    "read_itk",
    "read_series",
    "register_volumes",
    "track_motion",
    "write_itk",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
