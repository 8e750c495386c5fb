"""Series with exact truth: anatomy, kinematics, EPI artefacts, and small BIDS datasets of them.

>>> from unimo_bids.simulation import fetal_head, fetal_surroundings, kinematics, simulate
>>> series = simulate(
...     fetal_head(weeks=24, voxel_mm=2),
...     kinematics.synthetic_fetal(frames=3, severity="typical", seed=1),
...     shape=(48, 48, 24),
...     voxel_sizes=(4, 4, 5),
...     surroundings=fetal_surroundings(seed=1, voxel_mm=5),
... )
>>> series.data.shape
(48, 48, 24, 3)
"""

from unimo_bids.simulation import artefacts, kinematics, physiology
from unimo_bids.simulation.anatomy import Anatomy, adult_head
from unimo_bids.simulation.dataset import write_bids_dataset, write_mask_dataset
from unimo_bids.simulation.fetal import fetal_head
from unimo_bids.simulation.labelmaps import read_label_map
from unimo_bids.simulation.render import render
from unimo_bids.simulation.series import KnownActivation, SimulatedSeries, simulate
from unimo_bids.simulation.shapes import centered_affine
from unimo_bids.simulation.uterus import fetal_surroundings

__all__ = [
    "Anatomy",
    "KnownActivation",
    "SimulatedSeries",
    "adult_head",
    "artefacts",
    "centered_affine",
    "fetal_head",
    "fetal_surroundings",
    "kinematics",
    "physiology",
    "read_label_map",
    "render",
    "simulate",
    "write_bids_dataset",
    "write_mask_dataset",
]
