"""Turned volumes give turned representations, and so the pose between them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from unimo_bids.networks.alignment import align
from unimo_bids.networks.pose import VOXELS, WIDTH, PoseNetwork, seen, signed_distance
from unimo_bids.networks.weights import multiplies_bfloat16, quick_arithmetic


@pytest.fixture(scope="module")
def network() -> PoseNetwork:
    torch.manual_seed(0)
    return PoseNetwork().eval()


def _lump() -> tuple[torch.Tensor, torch.Tensor]:
    """An image without symmetry, and its mask, ``(1, 1, X, Y, Z)``."""
    line = torch.linspace(-1.5, 1.5, VOXELS)
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1)
    generator = torch.Generator().manual_seed(3)
    image = torch.zeros(VOXELS, VOXELS, VOXELS)
    for _ in range(10):
        place = 0.6 * torch.randn(3, generator=generator)
        image += torch.randn(1, generator=generator) * torch.exp(
            -((points - place).square().sum(-1)) / 0.08
        )
    x, y, z = points.unbind(-1)
    bumps = 0.25 * (x + y * z + x**2) + 0.15 * y - 0.1 * z
    mask = ((points / torch.tensor([1.1, 0.9, 0.7])).norm(dim=-1) + bumps < 1).float()
    return image[None, None], mask[None, None]


@pytest.mark.parametrize("part", ["image", "shape"])
def test_a_turn_of_the_grid_is_found_exactly_by_any_weights(network, part):
    image, mask = _lump()
    turns = [
        np.diag(signs) @ np.eye(3)[list(order)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]
    turns = [turn for turn in turns if np.linalg.det(turn) > 0][5::9]
    with torch.inference_mode():
        fixed = getattr(network(seen(image, mask)), part)
        for turn in turns:
            moving = getattr(network(seen(_turned(image, turn), _turned(mask, turn))), part)
            found = align(fixed, moving).poses[0]
            assert np.abs(found[:3, :3].numpy() - turn).max() < 1e-3
            assert found[:3, 3].abs().max() < 1e-3


@pytest.mark.skipif(
    not multiplies_bfloat16(torch.device("cpu")), reason="this processor has no such arithmetic"
)
def test_half_precision_changes_little(network):
    image, mask = _lump()
    both = torch.cat([image, image.rot90(1, (2, 3))]), torch.cat([mask, mask.rot90(1, (2, 3))])
    with torch.inference_mode():
        exact = network(seen(*both)).image
        with quick_arithmetic(torch.device("cpu")):
            rounded = network(seen(*both)).image
    assert (exact.points - rounded.points).norm() < 0.04 * exact.points.norm()
    turn = align(rounded[:1], rounded[1:]).poses[0, :3, :3]
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert (turn - quarter).abs().max() < 0.03


def test_a_volume_without_a_mask_has_no_shape(network):
    image, mask = _lump()
    with torch.inference_mode():
        fixed, moving = network(seen(image, None)), network(seen(image.flip(2, 3), None))
        poses, confidence = network.align(fixed, moving)
        assert fixed.shape is None
        assert torch.allclose(poses[0, :3, :3], torch.diag(torch.tensor([-1.0, -1, 1])), atol=1e-3)
        assert 0 <= confidence.item() <= 1
        masked = network(seen(image, mask))
        assert torch.equal(
            network.align(masked, moving)[0], network.align(masked, moving, "image")[0]
        )


def test_gradients_reach_every_weight():
    torch.manual_seed(1)
    trained = PoseNetwork()
    image, mask = _lump()
    both = torch.cat([image, image.flip(2, 3)]), torch.cat([mask, mask.flip(2, 3)])
    volumes = trained(seen(both[0] + 0.1 * torch.randn_like(both[0]), both[1]))
    pose, _ = trained.align(volumes[:1], volumes[1:])
    pose_slerp, _ = trained.align(volumes[:1], volumes[1:], "slerp")
    (pose[0, 0, 1] + pose[0, 0, 3] + pose_slerp[0, 0, 1]).backward()
    for name, parameter in trained.named_parameters():
        if not name.startswith("odds"):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def _turned(volume: torch.Tensor, turn: np.ndarray) -> torch.Tensor:
    """A volume about whose middle the content is turned by a turn of the grid."""
    order = np.abs(turn).argmax(axis=1)
    signs = turn[np.arange(3), order]
    moved = volume.permute(0, 1, *(2 + order).tolist())
    return moved.flip([2 + axis for axis in range(3) if signs[axis] < 0])


@pytest.mark.parametrize("shape", [(48, 48, 48), (40, 40, 40), (24, 32, 48), (5, 64, 7)])
def test_distance_from_a_masks_edge_in_any_box(shape):
    masks = torch.rand((2, 1, *shape), generator=torch.Generator().manual_seed(1))
    masks = torch.nn.functional.avg_pool3d(masks, 5, 1, 2)
    masks = (masks > masks.quantile(0.9)).float()
    sizes = [WIDTH / n for n in shape]
    farthest = 8 * min(sizes)
    for mask, found in zip(masks[:, 0].numpy() > 0.5, signed_distance(masks)[:, 0], strict=True):
        inwards, outwards = (
            ndimage.distance_transform_edt(region, sampling=sizes).clip(max=farthest)
            for region in (mask, ~mask)
        )
        np.testing.assert_allclose(found.numpy(), inwards - outwards, atol=1e-5)
