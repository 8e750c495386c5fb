"""Turned volumes give turned representations, and so the pose between them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from unimo_bids.networks.pose import (
    VOXELS,
    PoseNetwork,
    Representation,
    align,
    nearest_rotation,
    seen,
    slerp,
    together,
)
from unimo_bids.spatial import rigid


@pytest.fixture(scope="module")
def network() -> PoseNetwork:
    torch.manual_seed(0)
    return PoseNetwork().eval()


def _poses(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    turn = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return rigid.from_parameters(turn, 0.3 * torch.randn(count, 3, generator=generator).double())


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


def test_nearest_rotation_has_a_gradient_that_can_be_trusted():
    moments = torch.randn(6, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(nearest_rotation, (moments,), atol=1e-3, rtol=5e-3)


@pytest.mark.parametrize("values", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 1.0, 0.0)])
def test_gradient_is_finite_where_singular_values_agree(values: tuple[float, ...]):
    moments = torch.diag(torch.tensor(values)).double()[None].requires_grad_()
    nearest_rotation(moments).sum().backward()
    assert moments.grad is not None and moments.grad.isfinite().all()


def test_nearest_rotation_never_mirrors():
    rotation = nearest_rotation(torch.diag(torch.tensor([1.0, 1.0, -0.5]))[None])
    assert torch.linalg.det(rotation).item() == pytest.approx(1)


def test_alignment_finds_the_pose_of_its_terms():
    pose = _poses(4)
    points, vectors = torch.randn(4, 9, 3).double(), torch.randn(4, 5, 3).double()
    weights = torch.rand(4, 14).double() + 0.1
    moved = Representation(
        rigid.transform(pose, points), vectors @ pose[:, :3, :3].mT, torch.ones(4, 14).double()
    )
    found = align(Representation(points, vectors, weights), moved)
    assert torch.allclose(found.poses, pose)
    assert (found.evidence[:, :2] < -8).all()


def test_wrong_terms_count_by_their_weights():
    pose = _poses(1)
    points, weights = torch.randn(1, 8, 3).double(), torch.ones(1, 8).double()
    moved = rigid.transform(pose, points)
    moved[0, 0] += 5.0
    weights[0, 0] = 1e-6
    none = torch.zeros(1, 0, 3).double()
    fixed, moving = Representation(points, none, weights), Representation(moved, none, weights)
    assert torch.allclose(align(fixed, moving).poses, pose, atol=1e-6)


def test_together_keeps_points_and_vectors_apart():
    one = Representation(torch.zeros(1, 2, 3), torch.zeros(1, 1, 3), torch.tensor([[1.0, 2, 3]]))
    other = Representation(torch.ones(1, 1, 3), torch.ones(1, 2, 3), torch.tensor([[4.0, 5, 6]]))
    both = together((one, other), (torch.tensor(1.0), torch.tensor(10.0)))
    assert both.weights.tolist() == [[1, 2, 40, 3, 50, 60]]
    assert both.points[0, :, 0].tolist() == [0, 0, 1]
    assert both.vectors[0, :, 0].tolist() == [0, 1, 1]


@pytest.mark.parametrize("part", ["image", "shape"])
def test_a_turn_of_the_grid_is_found_exactly_by_any_weights(network: PoseNetwork, part: str):
    image, mask = _lump()
    turns = [
        np.diag(signs) @ np.eye(3)[list(order)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]
    turns = [turn for turn in turns if np.linalg.det(turn) > 0][::5]
    with torch.inference_mode():
        fixed = getattr(network(seen(image, mask)), part)
        for turn in turns:
            moving = getattr(network(seen(_turned(image, turn), _turned(mask, turn))), part)
            found = align(fixed, moving).poses[0]
            assert np.abs(found[:3, :3].numpy() - turn).max() < 1e-3
            assert found[:3, 3].abs().max() < 1e-3


def test_half_precision_changes_little(network: PoseNetwork):
    image, mask = _lump()
    both = torch.cat([image, image.rot90(1, (2, 3))]), torch.cat([mask, mask.rot90(1, (2, 3))])
    with torch.inference_mode():
        exact = network(seen(*both)).image
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(seen(*both)).image
    assert (exact.points - rounded.points).norm() < 0.04 * exact.points.norm()
    turn = align(rounded[:1], rounded[1:]).poses[0, :3, :3]
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert (turn - quarter).abs().max() < 0.03


def test_a_volume_without_a_mask_has_no_shape(network: PoseNetwork):
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


def test_distance_is_signed_and_in_radii():
    line = torch.linspace(-1.5 + 1 / 32, 1.5 - 1 / 32, VOXELS)
    radius = torch.stack(torch.meshgrid(line, line, line, indexing="ij")).norm(dim=0)
    distance = seen(torch.rand(1, 1, *radius.shape), (radius < 1).float()[None, None]).distance
    assert distance is not None
    near = (radius - 1).abs() < 0.3
    assert (distance[0, 0][near] - (1 - radius[near])).abs().max() < 0.07


def test_slerp_takes_the_shortest_way():
    one, other = _poses(3), _poses(3, seed=1)
    assert torch.allclose(slerp(one, other, torch.tensor(0.0)), one)
    assert torch.allclose(slerp(one, other, torch.tensor(1.0)), other)
    half = slerp(one, other, torch.tensor(0.5))
    assert torch.allclose(
        one[:, :3, :3].mT @ half[:, :3, :3], half[:, :3, :3].mT @ other[:, :3, :3]
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
