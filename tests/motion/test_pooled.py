"""What of a head is looked at when a field is sought."""

import torch

from tests import phantom
from unimo_bids.motion.pooled import head_of
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
