import torch
from torch import Tensor

from unimo_bids.deformation.modes import box_around
from unimo_bids.deformation.shape import jacobian_determinant, rigid_part, without_rigid
from unimo_bids.deformation.velocity import exponential
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Field

VOXEL = 3.0
GRID = Grid.of((40, 36, 32), torch.diag(torch.tensor([VOXEL, -VOXEL, VOXEL, 1.0])))


def smooth(grid: Grid, size: float, samples: int = 5) -> Tensor:
    modes = box_around(grid, samples=samples)
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(3, *modes.box.shape, dtype=torch.float64, generator=generator)
    on_grid = modes.on(values, grid)
    return on_grid * (size / torch.linalg.norm(on_grid, dim=0).max())


def test_the_exponential_of_a_turn_is_a_rotation() -> None:
    """A velocity ω × x moves points on circles: known in closed form."""
    turn = torch.tensor([0.0, 0.0, 0.3], dtype=torch.float64)
    center = GRID.points().mean(dim=0)
    points = GRID.points() - center
    velocity = torch.linalg.cross(turn.expand_as(points), points).mT.reshape(3, *GRID.shape)
    moved = points + exponential(velocity, GRID).flatten(1).mT
    expected = points @ rigid.rotation_matrix(turn).mT
    inner = points.norm(dim=1) < 30  # whose way stays in the grid, where linear is exact
    # v / 2⁷ in place of the first short way: half a square of it, 128 times
    assert float((moved - expected)[inner].norm(dim=1).max()) < 0.5 * 0.3**2 * 30 / 128 * 1.1


def test_minus_the_velocity_undoes_it_without_fold() -> None:
    velocity = smooth(GRID, 6.0)
    there, back = (Field(GRID, exponential(v, GRID).float()) for v in (velocity, -velocity))
    inside = torch.zeros(GRID.shape, dtype=torch.bool)
    inside[4:-4, 4:-4, 4:-4] = True  # ways that stay in the grid
    points = GRID.points().float()[inside.flatten()]
    assert float((there(points) - points).norm(dim=1).max()) > 3.0
    assert float((back(there(points)) - points).norm(dim=1).max()) < 0.05 * VOXEL
    assert float(jacobian_determinant(there).min()) > 0.2


def test_gradients_are_exact() -> None:
    grid = Grid.of((4, 4, 4), torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0])))
    velocity = smooth(grid, 2.0, samples=3).requires_grad_()
    torch.autograd.gradcheck(lambda v: exponential(v, grid, squarings=3), [velocity])


def test_the_rigid_part_is_taken_out() -> None:
    pose = rigid.from_parameters(torch.tensor([0.1, -0.2, 0.05]), torch.tensor([3.0, 1.0, -2.0]))
    bent = smooth(GRID, 1.0)
    points = GRID.points()
    moved = rigid.transform(pose.double(), points + bent.flatten(1).mT)
    field = Field(GRID, (moved - points).mT.reshape(3, *GRID.shape).float())
    weights = torch.rand(GRID.shape, generator=torch.Generator().manual_seed(0))
    left, found = without_rigid(field, weights)
    rest = points + left.displacement.flatten(1).mT.double()
    again = rigid_part(points, rest, weights.flatten())
    assert torch.allclose(again, torch.eye(4).double(), atol=1e-4)
    back = rigid.transform(found, rest)
    assert torch.allclose(back, moved, atol=1e-3)  # float32 of places 100 mm away
