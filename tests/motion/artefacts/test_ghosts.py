"""Frames that show themselves again, half of their field of view away."""

import re

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, noise, random_poses, volume
from unimo_bids.motion.artefacts import ghosts
from unimo_bids.motion.artefacts.ghosts import haunted, unghosted
from unimo_bids.motion.frames import Frames, Unghosted, half_away
from unimo_bids.motion.refinement import refine_to_template
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.tracking import follow_images

COUNT, AXIS = 8, 1
FEW = MotionSettings(fine_points=4000, coarse_points=2000, search=False, network=False)
POSES = random_poses(COUNT, 3.0, 5.0, seed=3)
POSES[0] = torch.eye(4)
CONSTANT = 0.15 * np.ones((COUNT, SHAPE[2]))
CHANGING = CONSTANT * np.linspace(0.2, 1.8, COUNT)[:, None]
EVERY_OTHER = CONSTANT * (np.arange(SHAPE[2]) % 2)


def _fitted(share, mask, poses=POSES, axis=AXIS, empty=()):
    """A head beside what rests; each slice of each frame has a share (T, Z) of what is away.

    Some frames are empty: noise alone.
    """
    frames = torch.stack([volume(p) for p in poses]) + 5
    frames[:, :, :4] += 100  # beside the head: half of the field of view away from its middle
    frames[:, :4, :] += 100
    share = torch.as_tensor(share, dtype=torch.float32)[:, None, None, :]
    frames = frames + share * frames.roll(SHAPE[axis] // 2, 1 + axis)
    frames = frames + noise((COUNT, *SHAPE), 0.7, seed=5)
    for t in empty:
        frames[t] = 50 + noise(SHAPE, 20.0, seed=t)
    series = frames.permute(1, 2, 3, 0).numpy()
    scan = read_scan(series, AFFINE.numpy(), mask.numpy(), 0, settings=FEW)
    track = follow_images(scan, scan.reference_image[None])
    return scan, track, refine_to_template(scan, track)


@pytest.mark.parametrize(("share", "size"), [(CONSTANT, 15), (CHANGING, 15), (EVERY_OTHER, 8)])
def test_a_ghost_does_not_harm_poses(share, size, mask):
    with torch.inference_mode():
        scan, track, before = _fitted(share, mask)
        _, after, told = unghosted(scan, track, before)
    harmed, left = (float(error_mm(one[1].poses, POSES).median()) for one in (before, after))
    assert harmed > 0.1, "nothing to mend"
    assert left < 0.3 * harmed
    found = re.search(r"along j: a ghost of (\d+) %", told[0])
    assert abs(int(found[1]) - size) <= 2


def test_frames_without_a_head_do_not_hide_a_ghost(mask):
    with torch.inference_mode():
        scan, track, before = _fitted(CONSTANT, mask, empty=(5,))
        assert scan.usable.all()
        _, after, told = unghosted(scan, track, before)
    assert told
    seen = [t for t in range(COUNT) if t != 5]
    harmed, left = (error_mm(one[1].poses[seen], POSES[seen]).median() for one in (before, after))
    assert left < 0.3 * harmed


def test_where_one_image_explains_no_frame_nothing_is_asked_of_ghosts(mask):
    with torch.inference_mode():
        scan, track, (steady, refined, image, changing) = _fitted(CONSTANT, mask)
        refined.similarity[:] = 0.1
        fitted = steady, refined, image, changing
        assert unghosted(scan, track, fitted) == (scan, fitted, ())


def test_along_the_axis_of_slices_there_are_no_ghosts(mask):
    with torch.inference_mode():
        scan, _, fitted = _fitted(CONSTANT, mask)
        assert haunted(scan, fitted) == AXIS
        scan.frames.slice_axis = AXIS
        assert haunted(scan, fitted) is None


def test_without_a_ghost_nothing_changes(mask):
    with torch.inference_mode():
        scan, track, fitted = _fitted(0 * CONSTANT, mask)
        assert unghosted(scan, track, fitted) == (scan, fitted, ())


def test_what_ghosts_do_not_explain_stays_as_it_was(mask, monkeypatch):
    with torch.inference_mode():
        scan, track, fitted = _fitted(0 * CONSTANT, mask)
        monkeypatch.setattr(ghosts, "haunted", lambda _scan, _fitted: AXIS)  # misled
        assert unghosted(scan, track, fitted) == (scan, fitted, ())


def test_a_ghost_is_taken_off(mask):
    head = volume(POSES[1]).expand(2, *SHAPE)
    shares = torch.full(SHAPE, 0.1)
    own = torch.tensor([0.0, 0.08])
    seen = head + (0.1 + own)[:, None, None, None] * half_away(head, AXIS)
    seen[:, 0] = 0  # not seen
    frames = Frames(seen.permute(1, 2, 3, 0).numpy(), AFFINE, torch.device("cpu"))
    without = Unghosted(frames, AXIS, shares, own)([0, 1])
    assert (without[:, 0] == 0).all()
    left = (without - head)[:, 1:].abs().amax(dim=(1, 2, 3)) / head.max()
    assert (left < 1.01 * (0.1 + own) ** 3).all()  # a ghost of a ghost of a ghost
