"""Pairs for pose networks of other kinds."""

import numpy as np
import torch

from benchmarks.peers import PEERS, Turned
from unimo_bids.networks.pose import Seen, box_places
from unimo_bids.spatial import rigid


def centers(images):
    """Places of three spots, each of its own brightness."""
    places = box_places(images.shape[2:], images.device)
    return torch.stack([places[image[0] == spot] for image in images for spot in (1, 2, 3)])[:, 0]


def test_turned_pairs_keep_their_pose():
    image = torch.zeros(2, 3, 12, 12, 12)
    for spot, at in enumerate(((9, 6, 4), (5, 8, 6), (3, 2, 7)), start=1):
        image[0, 0][at] = spot
        image[1, 0][at[0] + 1, at[1], at[2] + 2] = spot
    pose = rigid.from_rotation(
        torch.eye(3).double(), torch.tensor([1.0, 0.0, 2.0]).double() * 3 / 12
    )[None]
    pool = Turned((Seen(image, image[:, :1], None), pose, torch.tensor([True])))
    seen, poses, _ = pool.draw(20, np.random.default_rng(0))
    fixed, moving = centers(seen.image[:20]).double(), centers(seen.image[20:]).double()
    carried = rigid.transform(poses, fixed.reshape(20, 3, 3)).reshape(60, 3)
    torch.testing.assert_close(carried, moving, atol=1e-6, rtol=0)
    assert len({tuple(one.flatten().round().tolist()) for one in poses[:, :3, :3]}) > 10


def test_a_volume_is_summed_up_by_points():
    torch.manual_seed(0)
    seen = Seen(torch.randn(2, 3, 24, 24, 24), torch.ones(2, 1, 24, 24, 24), None)
    for make in PEERS.values():
        found = make().eval()(seen).image
        assert found.weights.shape[1] == found.points.shape[1] + found.vectors.shape[1]
        assert float(found.points.detach().abs().max()) < 3
