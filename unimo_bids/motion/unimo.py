"""Poses by the network: each volume is summed up once, then any two of them give a pose.

The network looks at a box around the head, along the volume's own axes and as wide as the head
asks. Its answer is carried to the world by where the boxes are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.networks.pose import VOXELS, WIDTH, Fusion, PoseNetwork, Volumes, seen
from unimo_bids.networks.weights import FOLDER, inference_type, load_weights
from unimo_bids.spatial import rigid
from unimo_bids.spatial.boxes import Box

WEIGHTS = "pose.safetensors"
SURE = 0.8  # confidence above which a pose need not be searched for


@dataclass(frozen=True)
class Seen:
    """A volume as the network knows it.

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
    """Sums up volumes and compares them.

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
        affine: NDArray[np.float64],
        mask: Tensor | None,
        center: Tensor | None = None,
    ) -> Seen:
        """Sum up a volume ``(X, Y, Z)``.

        Parameters
        ----------
        mask
            ``(X, Y, Z)`` 0 … 1, of what moves; without one, its shape has no say.
        center
            ``(3,)`` RAS mm, where to look; the mask's if not given.
        """
        turned, grid = _along_world(volume.float().to(self.device), affine)
        shape = None if mask is None else _along_world(mask.float().to(self.device), affine)[0]
        sizes = np.linalg.norm(grid[:3, :3], axis=0)
        if center is not None:
            index = np.linalg.solve(grid, [*center.tolist(), 1.0])[:3]
        elif shape is not None:
            index = _centroid(shape)
        else:
            raise ValueError("without a mask, the centre of what moves has to be given")
        x, y, z = (index * sizes).tolist()
        box = Box(WIDTH * self.radius / VOXELS, (VOXELS,) * 3, (x, y, z))
        image = box.read(turned, sizes.tolist())[None, None]
        inside = None if shape is None else box.read(shape, sizes.tolist())[None, None].clamp(0, 1)
        with torch.inference_mode(), torch.autocast(self.device.type, inference_type(self.device)):
            found = self.network(seen(image, inside))
        frame = np.eye(4)
        frame[:3, :3] = self.radius * _directions(grid)
        frame[:3, 3] = grid[:3, :3] @ index + grid[:3, 3]
        return Seen(found, torch.from_numpy(frame).to(self.device))

    def pose(self, fixed: Seen, moving: Seen) -> tuple[Tensor, float]:
        """Pose ``(4, 4)`` float64 RAS mm, fixed → moving, and the confidence in it."""
        with torch.inference_mode():
            poses, confidence = self.network.align(fixed.volumes, moving.volumes, self.fusion)
        pose = moving.frame @ poses[0].double() @ torch.linalg.inv(fixed.frame)
        return rigid.orthonormalized(pose), float(confidence)


def _along_world(volume: Tensor, affine: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.float64]]:
    """A volume with its axes in the order and direction of the world's, about, and its affine.

    So that no volume is seen in a mirror, however it is stored.
    """
    orientation = nib.orientations.io_orientation(affine)
    back = nib.orientations.inv_ornt_aff(orientation, volume.shape)
    order = np.argsort(orientation[:, 0])
    flipped = [axis for axis in range(3) if orientation[axis, 1] < 0]
    turned = volume.flip(flipped).permute(*order.tolist())
    return turned, np.asarray(affine @ back, dtype=np.float64)


def _directions(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation nearest to an affine's axes."""
    u, _, vh = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    return np.asarray(u @ vh)


def _centroid(mask: Tensor) -> NDArray[np.float64]:
    """Index ``(3,)`` of the middle of a mask's mass."""
    inside = (mask > 0.5).cpu().numpy()
    if not inside.any():
        raise ValueError("the mask is empty")
    return np.asarray(np.argwhere(inside).mean(axis=0))
