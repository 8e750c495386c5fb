"""Whether the reference is torn: its even slices show the head at another place than its odd ones.

Slices are acquired in packets, most often every other one at first. Of each half alone a frame is
made, each slice of the other half the mean of its neighbours, and registered. What lies between
the two poses in frames that are whole is noise and what such means blur; the median frame's is
taken off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Combined, filled
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.thresholds import REFERENCE
from unimo_bids.motion.ways import Way
from unimo_bids.registration.gauss_newton import register
from unimo_bids.spatial import rigid

_TOLD = (
    "Frame {}, the reference, seems to be torn: its even and odd slices show the head {:.1f} mm "
    "apart (other frames {:.1f} mm). All poses are relative to a frame that has no single pose, "
    "and standard deviations say so. Choose another."
)
_OTHERS = 4  # frames beside the reference


@dataclass(frozen=True)
class Tear:
    """A torn reference: the small motion (rad, mm) ``(6,)`` between its halves, and a sentence."""

    motion: Tensor
    told: str

    @property
    def covariance(self) -> Tensor:
        """Of a pose between the two, ``(6, 6)``."""
        return self.motion[:, None] * self.motion / 4


def torn_reference(scan: Scan, way: Way, good: NDArray[np.bool_], reference: int) -> Tear | None:
    """How far the halves of the reference are apart, if farther than those of other frames.

    Parameters
    ----------
    good
        ``(T,)`` frames that `way` explains.
    reference
        The frame that was asked for.
    """
    others = np.flatnonzero(good & (np.arange(len(good)) != reference))
    if len(others) < REFERENCE.fewest - 1 or _slices(scan) < 4:
        return None
    few = others[np.linspace(0, len(others) - 1, _OTHERS).round().astype(int)].tolist()
    apart = _apart(scan, way, [reference, *few])
    # what is common to all, the template's halves are apart by
    apart = apart - apart[1:].median(dim=0).values
    moved = rigid.from_parameters(apart[:, :3], apart[:, 3:], scan.head.center.to(apart))
    rest = torch.eye(4).to(moved).expand_as(moved)
    mm = rigid.displacement(moved, rest, scan.head.surface().to(apart)).mean(dim=-1)
    usual = float(mm[1:].median())
    least = max(REFERENCE.torn_apart * usual, REFERENCE.torn_voxels * scan.frames.grid.widest)
    if float(mm[0]) < least:
        return None
    return Tear(apart[0], _TOLD.format(reference, float(mm[0]), usual))


def _apart(scan: Scan, way: Way, frames: list[int]) -> Tensor:
    """Small motion from the even to the odd slices of frames, ``(F, 6)``."""
    level, poses = scan.coarse.level, way.refined.poses[frames]
    target = scan.target(way.images, level, scan.settings.coarse_points, "bias")
    axis, slices = scan.frames.slice_axis, _slices(scan)
    halves = []
    for first in (0, 1):
        half = filled(np.arange(first, slices, 2), slices)
        images = level.image(Combined(scan.frames, axis, half)(frames))[:, None]
        halves.append(register(target, images, poses, tolerance=0.05).poses)
    center = scan.head.center.to(poses).expand(len(frames), 3)
    return torch.cat(rigid.to_parameters(rigid.inverse(halves[0]) @ halves[1], center), dim=1)


def _slices(scan: Scan) -> int:
    return scan.frames.grid.shape[scan.frames.slice_axis]
