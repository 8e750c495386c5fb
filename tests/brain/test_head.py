import pytest
import torch

from tests import phantom
from tests.phantom import GRID, SHAPE, f64, grid_affine, head_mask, noise
from unimo_bids.brain.head import (
    MaskError,
    NoImageError,
    above_air,
    find_head,
    foreground,
    refusing,
    soft_weights,
)
from unimo_bids.errors import InputError
from unimo_bids.spatial.grid import Grid, world_points
from unimo_bids.spatial.region import centroid, radius_of

GRIDS = {
    "isotropic": (grid_affine((2.0, 2.0, 2.0), shape=(50, 50, 50)), (50, 50, 50)),
    "flipped": (grid_affine((-2.0, 2.5, 3.5), shape=(50, 40, 29)), (50, 40, 29)),
    "oblique": (grid_affine((2.0, 2.5, 3.5), (0.3, 0.2, -0.4), (50, 44, 32)), (50, 44, 32)),
}


def overlap(a, b):
    """Dice coefficient."""
    return float(2 * (a * b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("gain", [0.01, 1.0, 3000.0])
def test_foreground_is_the_head_without_holes_and_bystanders(at_rest, gain):
    frame = at_rest.clone()
    frame[16:19, 18:21, 14:17] = 0  # a hole: bleeding, flow void
    frame[1:4, 1:4, 1:4] = 100  # a piece of something else, far from the head
    found = foreground(gain * (frame + noise(SHAPE, 2.0).abs()), GRID)
    # 3 mm of blur on edges of 3.6 mm is 4.7 mm: a quarter of the intensity lies 0.67 × 4.7 mm
    # outside the edge, 9 % of the half axes. The rest is a fraction of a voxel on the surface
    assert overlap(found, head_mask(grown=1.09)) > 0.95
    assert float(found[17, 19, 15]) == 1
    assert float(found[2, 2, 2]) == 0
    assert set(found.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("affine", "shape"), GRIDS.values(), ids=GRIDS)
def test_radius_and_centroid_of_a_ball(affine, shape):
    place = f64([4.0, -6.0, 3.0])
    ball = torch.linalg.norm(world_points(shape, affine) - place, dim=-1) < 25
    ball = ball.reshape(shape).float()
    # counting voxels of a ball: surface / voxel area ≈ 1000 border voxels err by half, at random
    assert radius_of(ball, Grid(shape, affine)) == pytest.approx(25, rel=0.01)
    torch.testing.assert_close(centroid(ball, Grid(shape, affine)), place, rtol=0, atol=0.1)


@pytest.mark.parametrize("reach", [2.0, 4.0])
def test_soft_weights_keep_the_mask_and_fade_around_it(reach):
    mask, axis = head_mask(), torch.arange(15, 36)
    weights = soft_weights(mask, GRID, reach)
    assert torch.equal(weights[mask > 0], torch.ones(int(mask.sum())))
    assert float(weights.min()) >= 0
    profile = weights[axis, 20, 15]  # from the middle out through the head's side
    assert bool((profile.diff() <= 1e-6).all())  # float32 roundings of a blur
    edge = int(mask[axis, 20, 15].sum())
    beyond = (torch.arange(len(axis)) - edge + 0.5) * 3.0  # mm outside the edge
    assert float(profile[beyond > 4 * reach + 3].max()) == 0  # the kernel ends at 4 widths
    # behind a straight edge a blurred mask has Φ(-d/σ): three times that at one width is 0.48
    at_reach = profile[(beyond - reach).abs().argmin()]
    assert 0.1 < float(at_reach) <= 1


@pytest.mark.parametrize(
    ("edges", "size", "match"),
    [
        ((0, 0, 0), 3.0, "is empty"),
        ((1, 1, 1), 4.0, r"covers 1 voxel \(0\.064 ml\)"),
        ((3, 4, 4), 4.0, r"covers 48 voxels \(3\.1 ml\), less than the 50 voxels"),
        ((5, 5, 5), 1.9, r"covers 125 voxels \(0\.86 ml\).* and 1 ml"),
        ((5, 5, 2), 4.0, None),  # a slice of a fetal brain on two
    ],
)
def test_a_mask_too_small_for_six_numbers_is_refused(at_rest, edges, size, match):
    inside = torch.zeros(SHAPE)
    inside[tuple(slice(10, 10 + n) for n in edges)] = 1
    affine = grid_affine((size, size, size))
    if match is None:
        assert find_head(at_rest, Grid(SHAPE, affine), inside.numpy(), largest=105.0).radius > 9
        return
    with pytest.raises(ValueError, match=f"the mask {match}"):
        find_head(at_rest, Grid(SHAPE, affine), inside.numpy(), largest=105.0)


def test_an_inverted_mask_is_refused_whether_its_brain_is_cut_or_not(at_rest):
    for middle in ((20, 20, 15), (20, 20, 2)):
        points = GRID.points().reshape(*SHAPE, 3)
        brain = (points - points[middle]).norm(dim=-1) < 30  # mm
        find_head(at_rest, GRID, brain.numpy(), largest=105.0)
        with pytest.raises(ValueError, match="the mask holds all corners"):
            find_head(at_rest, GRID, (~brain).numpy(), largest=105.0)


def test_a_mask_of_all_that_is_in_view_but_for_small_holes_is_taken(at_rest):
    mask = torch.ones(SHAPE)
    mask[::3, ::3, ::3] = 0
    mask[18:22, 18:22, 14:16] = 0  # a ventricle of 12 mm
    find_head(at_rest, GRID, mask.numpy(), largest=105.0)


def test_a_mask_where_the_reference_is_blank_is_refused(at_rest):
    mask = torch.zeros(SHAPE)
    mask[:6, :6, :6] = 1
    with pytest.raises(ValueError, match="covers no signal"):
        find_head(at_rest * (1 - mask), GRID, mask.numpy(), largest=105.0)


def test_both_errors_become_refusals_of_the_file_at_fault():
    def refusal(error, *given, **more):
        with pytest.raises(InputError) as caught, refusing("bold.nii", *given, **more):
            raise error
        return str(caught.value)

    small = MaskError("the mask covers 11 voxels")
    assert refusal(NoImageError("no frame holds an image")).startswith("bold.nii: no frame holds")
    assert refusal(small, "mask.nii").startswith("mask.nii: the mask covers 11 voxels; give ")
    assert "mask of the reference frame covers" in refusal(small, "mask.nii", many=True)
    assert refusal(small).startswith("bold.nii: the brain that was found covers 11 voxels")
    with pytest.raises(ValueError, match="other"), refusing("bold.nii"):
        raise ValueError("the mask is not the matter, but something other")


def test_images_below_zero_are_turned_up():
    head = phantom.volume(phantom.rest(1)[0])
    assert above_air(head) is head and above_air(head - 5) is not None
    torch.testing.assert_close(above_air(head - 1000), head, atol=0.1, rtol=0)
    torch.testing.assert_close(above_air(-head), head, atol=30, rtol=0)  # up to its 99th per cent
    inside = foreground(head, phantom.GRID) > 0
    for image in (-head, head - 1000, 300 - head - 1000):
        found = foreground(image, phantom.GRID) > 0
        assert (found & inside).sum() / (found | inside).sum() > 0.97
