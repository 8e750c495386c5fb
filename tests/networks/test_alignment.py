"""The pose that carries one representation onto another."""

from __future__ import annotations

import pytest
import torch

from unimo_bids.networks.alignment import Representation, align, nearest_rotation, slerp
from unimo_bids.spatial import rigid


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _poses(count: int) -> torch.Tensor:
    return rigid.from_parameters(
        torch.randn(count, 3).double(), 0.3 * torch.randn(count, 3).double()
    )


def test_nearest_rotation_has_a_gradient_that_can_be_trusted():
    moments = torch.randn(6, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(nearest_rotation, (moments,), atol=1e-3, rtol=5e-3)


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


def test_slerp_takes_the_shortest_way():
    one, other = _poses(3), _poses(3)
    assert torch.allclose(slerp(one, other, torch.tensor(0.0)), one)
    assert torch.allclose(slerp(one, other, torch.tensor(1.0)), other)
    half = slerp(one, other, torch.tensor(0.5))
    assert torch.allclose(
        one[:, :3, :3].mT @ half[:, :3, :3], half[:, :3, :3].mT @ other[:, :3, :3]
    )
