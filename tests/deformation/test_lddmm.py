import pytest
import torch
from torch import Tensor

from unimo_bids.deformation.lddmm import Metric, energy, shoot
from unimo_bids.deformation.modes import Modes, box_around
from unimo_bids.deformation.shape import jacobian_determinant
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Field

VOXEL = 3.0
GRID = Grid.of((40, 40, 40), torch.diag(torch.tensor([VOXEL, VOXEL, VOXEL, 1.0])))


def velocity(modes: Modes, metric: Metric, size: float, *batch: int) -> Tensor:
    """Smooth, of at most so many mm."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(*batch, 3, *modes.box.shape, dtype=torch.float64, generator=generator)
    smooth = modes.values(modes.spectrum(noise) / metric.cost(modes, noise))
    return smooth * (size / torch.linalg.norm(smooth, dim=-4).max())


@pytest.fixture(scope="module")
def modes() -> Modes:
    return box_around(GRID, samples=11)


METRIC = Metric(length=20.0, power=3)


def test_energy_is_kept(modes: Modes) -> None:
    """A Galerkin projection keeps it exactly: what is lost is the integrator's, of order dt⁴."""
    start = velocity(modes, METRIC, 12.0)
    before = energy(start, modes, METRIC)
    ends = [shoot(start, modes, METRIC, steps=n).velocity for n in (5, 10)]
    lost = [abs(float(energy(end, modes, METRIC) / before) - 1) for end in ends]
    assert lost[1] < 1e-5
    assert lost[1] < lost[0] / 8  # 16 for an integrator of fourth order
    euler = shoot(start, modes, METRIC, steps=10, scheme="euler").velocity
    assert abs(float(energy(euler, modes, METRIC) / before) - 1) < 0.05
    assert not torch.allclose(ends[1], start, atol=1.0)  # the velocity does change


def test_shooting_back_undoes_it(modes: Modes) -> None:
    start = velocity(modes, METRIC, 10.0)
    there = shoot(start, modes, METRIC)
    back = shoot(-there.velocity, modes, METRIC)
    assert torch.allclose(-back.velocity, start, atol=0.01)
    points = GRID.points()[::53]
    gone = points + modes.at(there.displacement, points).mT
    returned = gone + modes.at(back.displacement, gone).mT
    assert float((gone - points).norm(dim=1).max()) > 5.0
    assert float((returned - points).norm(dim=1).max()) < 0.05 * VOXEL


def test_no_fold(modes: Modes) -> None:
    there = shoot(velocity(modes, METRIC, 15.0), modes, METRIC)
    field = Field(GRID, modes.on(there.displacement, GRID).float())
    volume = jacobian_determinant(field)
    assert 0.1 < float(volume.min()) < 0.8  # squeezed, but not to nothing


def test_a_batch_is_its_parts(modes: Modes) -> None:
    start = velocity(modes, METRIC, 8.0, 2)
    both = shoot(start, modes, METRIC, steps=2)
    second = shoot(start[1], modes, METRIC, steps=2)
    assert torch.allclose(both.displacement[1], second.displacement, atol=1e-10)


@pytest.mark.parametrize("scheme", ["rk4", "euler"])
def test_gradients_are_exact(scheme: str) -> None:
    small = box_around(GRID, samples=3)
    start = velocity(small, METRIC, 20.0).requires_grad_()
    torch.autograd.gradcheck(
        lambda v: shoot(v, small, METRIC, steps=2, scheme=scheme).displacement,
        [start],
        fast_mode=True,  # one random direction
        check_undefined_grad=False,
    )
