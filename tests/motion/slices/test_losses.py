"""A part of the head without signal in some frames: do slices take its border for the head's?"""

import numpy as np
import torch

from tests.motion.slices.test_slices import COUNT, TIMES, TR, acquired, slice_errors, sway
from tests.phantom import AFFINE, RADIUS, SHAPE, f64, head_mask
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.slices.estimation import estimate_slices
from unimo_bids.motion.slices.losses import without_losses
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, world_points
from unimo_bids.spatial.region import Region

WAY = sway(3.0, 2.0)
MASK = head_mask().numpy() > 0.5
HEAD = Region(Grid(SHAPE, AFFINE), head_mask().float(), f64([0, 0, 0.0]), RADIUS)
ALL = np.ones(COUNT, dtype=bool)


def series_without(partial: list[int]) -> np.ndarray:
    """Frames of which a third of the head, in front, has 5 % of its signal."""
    series = acquired(WAY)
    for t in partial:
        pose = WAY.at(TIMES.of(t))[SHAPE[2] // 2]
        places = rigid.transform(rigid.inverse(pose), world_points(SHAPE, AFFINE))
        gone = torch.sigmoid((places[:, 1] - 10) / 3).reshape(SHAPE)
        series[..., t] *= 1 - 0.95 * gone.float().numpy()
    return series


def test_slices_are_followed_by_the_rest_of_the_head():
    partial = [2, 5, 6]
    series = series_without(partial)
    motion = estimate_motion(series, AFFINE.numpy(), mask=MASK, reference=0)
    found = estimate_slices(series, AFFINE.numpy(), motion, TIMES)
    errors = slice_errors(found.poses, WAY)
    # .13 here, .57 if losses are not looked for; of that .05 where nothing is lost
    assert errors[partial].median() < 0.2
    assert found.similarity[partial].min() > 0.98  # .92


def test_a_loss_is_found_against_a_whole_template_alone(at_rest):
    """Of the reference as well; a template that has lost as much says nothing."""
    series = series_without([0])
    frames = Frames(series, AFFINE, torch.device("cpu"))
    middles = WAY.at(torch.arange(COUNT) * TR + TIMES.middle)
    whole = without_losses(frames, at_rest, HEAD, middles, ALL)
    assert [t for t in range(COUNT) if whole.lost([t]) is not None] == [0]
    share = float(whole.lost([0])[0][MASK].mean())
    assert 0.2 < share < 0.4
    found = without_losses(frames, frames([0])[0], HEAD, middles, ALL)
    assert all(found.lost([t]) is None for t in range(COUNT))
