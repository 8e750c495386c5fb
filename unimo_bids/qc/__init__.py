"""Quality: how much each frame moved, and what correcting it did to the signal."""

from unimo_bids.qc.framewise import (
    framewise_displacement,
    motion_parameters,
    parameter_covariance,
    rms_displacement,
)
from unimo_bids.qc.tsnr import TemporalMoments

__all__ = [
    "TemporalMoments",
    "framewise_displacement",
    "motion_parameters",
    "parameter_covariance",
    "rms_displacement",
]
