"""What of a head is looked at when a field is sought."""

import torch
from torch.nn.functional import max_pool3d

from tests import phantom
from unimo_bids.deformation.epi import empty_field
from unimo_bids.motion.distortion.undistorted import head_of, level_of, steady
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.interpolation import gradient
from unimo_bids.spatial.region import Region


def test_gradients_at_the_points_need_no_more_of_the_template_than_is_read():
    grid = Grid.of(phantom.SHAPE, phantom.AFFINE.numpy())
    weights, template = phantom.head_mask().float(), phantom.volume(torch.eye(4).double()).float()
    region = Region(grid, weights, torch.zeros(3, dtype=torch.float64), phantom.RADIUS)
    head = head_of(region, template, 500)
    counted = head.region.weights.flatten() > 0
    assert len(head.places) == int(counted.sum()) == 500
    image = head.level.image(template[region.window(3)])
    read = torch.where(head.near.reshape(image.shape), image, 0.0)
    assert head.near.float().mean() < 0.5
    whole, part = (gradient(one, head.region.grid.affine).reshape(-1, 3) for one in (image, read))
    apart = (whole - part)[counted].norm(dim=1).median()
    # a cubic spline's slope falls off by 0.27 a voxel: what is four voxels off adds little
    assert float(apart) < 0.1 * float(whole[counted].norm(dim=1).median())


def test_places_that_no_field_makes_alike_lose_their_weight():
    """Changed in every frame, as where signal folds; noise elsewhere."""
    grid = Grid.of(phantom.SHAPE, phantom.AFFINE.numpy())
    weights, template = phantom.head_mask().float(), phantom.volume(torch.eye(4).double()).float()
    region = Region(grid, weights, torch.zeros(3, dtype=torch.float64), phantom.RADIUS)
    frames = template + phantom.noise((8, *phantom.SHAPE), 2.0)
    inside = weights > 0.5
    folded = inside & (torch.arange(phantom.SHAPE[1])[None, :, None] > 0.65 * phantom.SHAPE[1])
    change = torch.linspace(0.6, 1.4, 8)[:, None, None, None]
    frames = torch.where(folded, change * frames, frames)
    box = torch.zeros(3).double(), torch.tensor(phantom.SHAPE).double() - 1
    field, level = empty_field(grid, 1, *box, 60.0), level_of(grid)
    rest = torch.eye(4).double().expand(8, 4, 4)
    found = steady(level.sampled(frames), rest, field, region, level).weights
    near = max_pool3d(folded[None, None].float(), 9, stride=1, padding=4)[0, 0] > 0
    core = 1 - max_pool3d(1 - folded[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
    assert float(found[core & inside].median()) < 0.2
    assert float(found[inside & ~near].quantile(0.05)) > 0.9
