"""Poses by the network: each volume is summed up once, then any two of them give a pose.

The network looks at a box around the head, as wide as the head asks and along the volume's own
axes. Its answer is carried to the world by where the boxes are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from unimo_bids.brain.head import MaskError
from unimo_bids.networks.pose import (
    VOXELS,
    WIDTH,
    PoseNetwork,
    Volumes,
    box_places,
    seen,
)
from unimo_bids.networks.weights import FOLDER, load_weights, quick_arithmetic
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, inside
from unimo_bids.spatial.interpolation import gaussian_blur, sample_linear
from unimo_bids.words import Fusion

WEIGHTS = "pose.safetensors"


@dataclass(frozen=True)
class Representation:
    """A volume as the network represents it.

    Attributes
    ----------
    volumes
        Representation of this one.
    frame
        ``(4, 4)`` from places in the box (radii from its middle) to RAS mm.
    """

    volumes: Volumes
    frame: Tensor


@cache
def pose_network(device: str) -> PoseNetwork:
    """The shipped network, loaded once."""
    network = PoseNetwork()
    load_weights(network, FOLDER / WEIGHTS)
    return network.to(device)


class PoseFinder:
    """Computes representations of volumes and compares them.

    Parameters
    ----------
    radius
        mm, of a ball as large as what moves; the same for all volumes that are compared.
    fusion
        How image and shape are brought together.
    network
        The shipped one if not given.
    """

    def __init__(
        self,
        radius: float,
        device: str | torch.device = "cpu",
        fusion: Fusion = "information",
        network: PoseNetwork | None = None,
    ) -> None:
        self.radius, self.fusion = radius, fusion
        self.device = torch.device(device)
        self.network = network or pose_network(str(device))

    def look(
        self,
        volume: Tensor,
        grid: Grid,
        mask: Tensor | None,
        center: Tensor | None = None,
    ) -> Representation:
        """Compute the representation of a volume ``(X, Y, Z)``.

        Parameters
        ----------
        mask
            ``(X, Y, Z)`` 0 … 1, of what moves; without one, its shape has no say.
        center
            ``(3,)`` RAS mm, where to look; the mask's if not given.
        """
        affine = grid.affine.to(self.device)
        if center is None:
            if mask is None:
                raise ValueError("without a mask, the centre of what moves has to be given")
            within = (mask > 0.5).nonzero().double()
            if len(within) == 0:
                raise MaskError("the mask is empty")
            center = rigid.transform(affine, within.mean(dim=0)[None].to(affine))[0]
        frame = torch.eye(4, dtype=torch.float64, device=self.device)
        frame[:3, :3] = self.radius * _nearest_axes(affine)
        frame[:3, 3] = center
        image = self._read(volume, grid, frame)
        shape = None if mask is None else self._read(mask, grid, frame).clamp(0, 1)
        with torch.inference_mode(), quick_arithmetic(self.device):
            found = self.network(seen(image, shape))
        return Representation(found, frame)

    def _read(self, volume: Tensor, grid: Grid, frame: Tensor) -> Tensor:
        """A volume on the box, ``(1, 1, X, Y, Z)``; averaged where the box's voxels are wider."""
        wider = WIDTH / VOXELS * self.radius / grid.sizes
        blur = ((wider**2 - 1).clamp(min=0) / 6).sqrt()  # a triangle so wide, less interpolation's
        smooth = gaussian_blur(volume.float().to(self.device), blur.tolist())
        to_index = grid.to_index.to(frame) @ frame
        places = box_places((VOXELS,) * 3, self.device).double().reshape(-1, 3)
        indices = rigid.transform(to_index, places).float()[None]
        values = sample_linear(smooth[None, None], indices)
        values = values * inside(indices, volume.shape, margin=-0.5)
        return values.reshape(1, 1, VOXELS, VOXELS, VOXELS)

    def pose(self, fixed: Representation, moving: Representation) -> tuple[Tensor, float]:
        """Pose ``(4, 4)`` float64 RAS mm, fixed → moving, and the confidence in it."""
        with torch.inference_mode():
            poses, confidence = self.network.align(fixed.volumes, moving.volumes, self.fusion)
        pose = moving.frame @ poses[0].double() @ torch.linalg.inv(fixed.frame)
        return rigid.orthonormalized(pose), float(confidence)


def _nearest_axes(affine: Tensor) -> Tensor:
    """Rotation to a grid's own axes, in the world's order and direction, about: no mirror."""
    numbers = affine.cpu().numpy()
    orientation = nib.orientations.io_orientation(numbers)
    axes = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(orientation):
        axes[:, int(world)] = sign * numbers[:3, axis] / np.linalg.norm(numbers[:3, axis])
    u, _, vh = np.linalg.svd(axes)
    return torch.from_numpy(u @ vh).to(affine)
