"""A field fixed in the scanner, on a head that is known everywhere: no field of the kind sought."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import phantom
from unimo_bids.deformation.epi import Distortion, empty_field
from unimo_bids.motion.correction import correct_series
from unimo_bids.motion.distortion.estimation import _judge, estimate_distortion
from unimo_bids.motion.distortion.held_out import GHOST, find_ground
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import world_points
from unimo_bids.spatial.warp import Rigid, Warp

COUNT, AXIS = 16, 1
BUMPS = (((5.0, 30.0, -20.0), 6.0), ((-30.0, -5.0, -25.0), -4.0))  # where (mm), how much (mm)
WIDTH = 20.0
POSES = torch.cat([phantom.rest(1), phantom.random_poses(COUNT - 1, 8.0, 6.0, seed=4)])


def shift(points: Tensor, size: float) -> Tensor:
    total = torch.zeros(len(points), dtype=torch.float64)
    for place, height in BUMPS:
        apart = (points - phantom.f64(place)).square().sum(dim=1)
        total += size * height * torch.exp(-apart / (2 * WIDTH**2))
    return total


def seen(points: Tensor, size: float) -> Tensor:
    """Where what is at points shows, by the fixed point."""
    out = points.clone()
    for _ in range(60):
        out[:, AXIS] = points[:, AXIS] - shift(out, size)
    return out


def frame(pose: Tensor, size: float) -> Tensor:
    points = world_points(phantom.SHAPE, phantom.AFFINE).requires_grad_()
    moved = shift(points, size)
    (slope,) = torch.autograd.grad(moved.sum(), points)
    there = points.detach().clone()
    there[:, AXIS] += moved.detach()
    values = phantom.head(rigid.transform(rigid.inverse(pose), there)) * (1 + slope[:, AXIS])
    return values.reshape(phantom.SHAPE).float()


def series(size: float, poses: Tensor = POSES) -> np.ndarray:
    frames = torch.stack([frame(pose, size) for pose in poses])
    frames = frames + phantom.noise(tuple(frames.shape), 2.0)
    return frames.permute(1, 2, 3, 0).contiguous().numpy()


def known(poses: Tensor, template: np.ndarray) -> MotionEstimate:
    """Rigid motion as an estimate would have it; the fit starts from it."""
    return MotionEstimate(
        poses=poses.numpy(),
        covariance=np.zeros((len(poses), 6, 6)),
        similarity=np.ones(len(poses)),
        status=np.full(len(poses), "ok"),
        template=template,
        mask=phantom.head_mask().numpy(),
        reference=0,
        center=np.zeros(3),
        radius=phantom.RADIUS,
    )


def errors(warps: list[Warp], size: float) -> Tensor:
    """Of points of the head in all frames but the reference, mm."""
    points = world_points(phantom.SHAPE, phantom.AFFINE)[phantom.head_mask().flatten() > 0][::9]
    shown = seen(points, size)
    apart = [
        (warp(shown) - seen(rigid.transform(pose, points), size)).norm(dim=1)
        for warp, pose in zip(warps[1:], POSES[1:], strict=True)
    ]
    return torch.cat(apart)


@pytest.fixture(scope="module")
def bent():
    data = series(1.0)
    return data, estimate_distortion(data, phantom.AFFINE.numpy(), known(POSES, data[..., 0]), AXIS)


def test_the_field_is_found_with_the_poses(bent):
    _, found = bent
    assert found.distortion is not None and found.finding.startswith("Distortion is corrected")
    poses = torch.from_numpy(found.motion.poses)
    before = errors([Rigid(pose) for pose in POSES], 1.0)
    after = errors([found.distortion.warp(pose) for pose in poses], 1.0)
    assert float(before.mean()) > 0.3
    assert float(after.mean()) < 0.35 * float(before.mean())
    assert float(after.quantile(0.95)) < 0.5 * float(before.quantile(0.95))


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 2])
def test_along_a_wrong_axis_nothing_is_done(bent, axis):
    """A field there explains the frames as well, a little, and would be wrong."""
    data, found = bent
    motion = known(POSES, data[..., 0])
    refused = estimate_distortion(data, phantom.AFFINE.numpy(), motion, axis)
    assert refused.distortion is None and refused.motion is motion
    assert refused.less[axis] < 0.5 * found.less[AXIS]


class Frames:
    """Stands for frames of which a known share is left along each axis, noise apart.

    And, last, with a ghost.
    """

    def __init__(self, *less: float) -> None:
        self.less = less

    def left(self, axis: int, steps: int) -> tuple[int, None, Tensor]:
        noise = torch.linspace(-0.04, 0.04, 9).roll(2 * axis)  # means are told to 0.01
        return axis, None, np.log(1 - (self.less[axis] if steps else 0)) + noise

    def foreseen(self, fields: dict[int, int], _ghosts: None) -> dict[int, Tensor]:
        axes = [*fields, GHOST]
        return {axis: self.left(axis, 0)[2] - self.left(axis, 1)[2].roll(axis) for axis in axes}


@pytest.mark.parametrize(
    ("less", "taken", "because"),
    [
        ((0.02, 0.20, 0.03, 0.02), True, "20.0 % less left"),
        ((0.15, 0.20, 0.03, 0.02), True, "15.0 % along i"),
        ((0.195, 0.20, 0.03, 0.02), False, "cannot be told from others"),
        ((0.03, 0.20, 0.195, 0.02), True, "19.5 % along k"),  # of the slices
        ((0.02, 0.20, 0.30, 0.02), False, "not the axis of what is there"),
        ((0.02, 0.20, 0.03, 0.195), False, "as a ghost by 19.5 %"),
        ((-0.03, 0.008, -0.03, -0.03), False, "0.8 % less left"),
    ],
)
def test_an_axis_has_to_be_clearly_the_one(less, taken, because):
    verdict = _judge(Frames(*less), {axis: axis for axis in range(3)}, AXIS, "auto", 2, None)
    assert (verdict.field == AXIS) == taken and because in verdict.said
    forced = _judge(Frames(*less), {axis: axis for axis in range(3)}, AXIS, "epi", 2, None)
    assert forced.field == AXIS


@pytest.mark.parametrize(("less", "taken"), [(0.02, False), (0.20, True)])
def test_along_the_slices_more_is_asked(less, taken):
    """Nothing else is there; as much along another axis is enough."""
    seen, axes = Frames(-0.03, less, -0.03, -0.03), {axis: axis for axis in range(3)}
    verdict = _judge(seen, axes, AXIS, "auto", AXIS, None)
    assert (verdict.field == AXIS) == taken and ("axis of the slices" in verdict.said) != taken
    assert _judge(seen, axes, AXIS, "auto", 2, None).field == AXIS


def test_frames_become_the_reference(bent):
    """In place and in brightness; better than by true poses alone."""
    data, found = bent
    inside = phantom.head_mask().numpy() > 0

    def left(poses: np.ndarray, distortion: Distortion | None) -> float:
        frames = correct_series(data, phantom.AFFINE.numpy(), poses, distortion=distortion)
        apart = [np.std((one - data[..., 0])[inside]) for one in frames]
        return float(np.mean(apart[1:]))

    # noise of two frames, a little less after interpolation, is 2.8
    assert left(found.motion.poses, found.distortion) < 3.2
    assert left(POSES.numpy(), None) > 3.6
    first = next(
        correct_series(
            data, phantom.AFFINE.numpy(), found.motion.poses, distortion=found.distortion
        )
    )
    assert np.array_equal(first, data[..., 0])  # the reference stays what it is


def test_what_stays_within_the_mask_does_not_take_the_field_along():
    """A rim of the mask that shows what is around the head, at rest, and no head."""
    data, inside = series(1.0), phantom.head_mask().numpy() > 0
    around = inside & (np.arange(phantom.SHAPE[2]) < np.argwhere(inside)[:, 2].min() + 6)
    data[around] = data[around][:, :1] + phantom.noise((int(around.sum()), COUNT), 2.0).numpy()
    motion = known(POSES, data[..., 0])
    found = estimate_distortion(data, phantom.AFFINE.numpy(), motion, AXIS)
    assert found.distortion is not None
    poses = torch.from_numpy(found.motion.poses)
    before = errors([Rigid(pose) for pose in POSES], 1.0)
    after = errors([found.distortion.warp(pose) for pose in poses], 1.0)
    assert float(after.mean()) < 0.5 * float(before.mean())


def test_without_distortion_nothing_is_done():
    data = series(0.0)
    motion = known(POSES, data[..., 0])
    found = estimate_distortion(data, phantom.AFFINE.numpy(), motion, AXIS)
    assert found.distortion is None and found.motion is motion
    assert found.finding.startswith("No distortion is corrected")


@pytest.mark.parametrize(("size", "ghost"), [(0.0, 0.08), (1.0, 0.0)])
def test_a_ghost_is_told_from_a_field(size, ghost):
    """It goes with the head, half of the field of view off, and a field explains some of it."""
    data = series(size)
    data += ghost * np.roll(data, data.shape[AXIS] // 2, axis=AXIS)
    motion, frames = known(POSES, data[..., 0]), np.arange(COUNT)
    ground = find_ground(data, phantom.AFFINE.numpy(), motion, frames, frames)
    empty = empty_field(ground.frames.grid, AXIS, *ground.box, 0.75 * phantom.RADIUS)
    less = ground.judges.foreseen({AXIS: empty}, ground.ghosts(AXIS))
    as_field, as_ghost = (float(less[one].mean()) for one in (AXIS, GHOST))
    assert as_ghost > as_field + 0.02 if ghost else as_field > as_ghost + 0.02


def test_a_head_at_rest_is_left_alone():
    poses = phantom.rest(COUNT)
    data = np.zeros((*phantom.SHAPE, COUNT), dtype=np.float32)
    motion = known(poses, np.ones(phantom.SHAPE, dtype=np.float32))
    found = estimate_distortion(data, phantom.AFFINE.numpy(), motion, AXIS)
    assert found.motion is motion and "hardly moved" in found.finding
    few = replace(motion, status=np.array(["ok"] * 7 + ["lost"] * (COUNT - 7)))
    found = estimate_distortion(data, phantom.AFFINE.numpy(), few, AXIS)
    assert found.motion is few and "too few" in found.finding
    changing = replace(motion, mode="tied")
    found = estimate_distortion(data, phantom.AFFINE.numpy(), changing, AXIS)
    assert found.motion is changing and "no single image" in found.finding
