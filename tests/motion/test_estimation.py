"""Steps of an estimate that `estimate_motion` shows only in rare series."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, noise, random_poses, volume
from unimo_bids.motion import estimation, judge
from unimo_bids.motion.contrast import changing
from unimo_bids.motion.estimate import Tracking
from unimo_bids.motion.estimation import estimate_motion, refine_tracking
from unimo_bids.motion.judge import Judge, clear
from unimo_bids.motion.refinement import refine
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.tracking import Track
from unimo_bids.motion.ways import Way
from unimo_bids.registration.joint import JointAlignment
from unimo_bids.spatial import rigid

COUNT = 8


@pytest.fixture
def moved(mask):
    """A scan; the head's top is beyond the view of all but the reference."""
    poses = random_poses(COUNT, 4.0, 2.0, seed=8)
    poses[1:, 2, 3] += 16.0
    poses[0] = torch.eye(4)
    frames = torch.stack([volume(p) for p in poses]) + noise((COUNT, *SHAPE), 0.5)
    series = np.ascontiguousarray(frames.permute(1, 2, 3, 0).numpy())
    return read_scan(series, AFFINE.numpy(), mask.numpy(), 0), poses


def test_a_reference_unlike_the_others_still_shows_what_they_did_not_see(moved, monkeypatch):
    scan, poses = moved

    def without_the_first(_target, _sampled, poses, **_):
        kept = torch.arange(COUNT) > 0
        return JointAlignment(poses, kept, torch.eye(COUNT - 1)[:, :2])

    monkeypatch.setattr(changing, "align_jointly", without_the_first)
    _, images, together = changing.align_contrasts(scan, poses, np.ones(COUNT, dtype=bool))
    assert together == list(range(1, COUNT))
    assert images.shape == (3, *SHAPE)
    assert torch.isfinite(images).all()


def test_frames_aligned_together_keep_their_poses(moved, monkeypatch):
    """Refined one by one to the same images, they would be worse."""
    scan, poses = moved
    together = [0, 1, 4]
    off = poses.clone()
    off[1:, :3, 3] += 0.5
    template = scan.reference_image[None]
    monkeypatch.setattr(changing, "align_contrasts", lambda *_: (off.clone(), template, together))
    monkeypatch.setattr(changing, "clear", lambda *_: False)  # ties would be nearer
    monkeypatch.setattr(estimation, "do_no_harm", lambda *_: None)
    monkeypatch.setattr(
        estimation, "best_way", lambda _judge, ways, *_: ("common", ways["common"], None, ())
    )
    searched = np.zeros(COUNT, dtype=bool)
    rough = Tracking(0, off.numpy(), np.ones(COUNT), searched, contrasts=True)
    found = torch.from_numpy(refine_tracking(scan, rough).poses)
    torch.testing.assert_close(found[together], off[together])
    others = [t for t in range(COUNT) if t not in together]
    assert float(error_mm(found[others], poses[others]).max()) < 0.2


def test_what_is_unknown_of_a_way_is_part_of_the_deviations(moved, monkeypatch):
    scan, poses = moved
    monkeypatch.setattr(estimation, "do_no_harm", lambda *_: None)
    rough = Tracking(0, poses.numpy(), np.ones(COUNT), np.zeros(COUNT, dtype=bool))

    def covariance(unknown):
        def only(_judge, ways, *_):
            return "plain", replace(ways["plain"], unknown=unknown), None, ()

        monkeypatch.setattr(estimation, "best_way", only)
        return refine_tracking(scan, rough).covariance

    unknown = 4 * torch.eye(6, dtype=torch.float64).repeat(COUNT, 1, 1)
    unknown[0] = 0  # the reference
    np.testing.assert_allclose(covariance(unknown) - covariance(None), unknown, atol=1e-9)


@pytest.mark.parametrize("right", ["common", "tied"])
def test_where_contrast_changes_a_field_that_stays_still_does_not_choose_the_way(
    mask, monkeypatch, right
):
    """At poses that are drawn back 5 % of their way, frames as they are agree better."""
    poses = random_poses(COUNT, 8.0, 10.0, seed=1)
    poses[0] = torch.eye(4)
    field = 1 + 0.9 * torch.linspace(-1, 1, SHAPE[0])[:, None, None]
    frames = (torch.stack([volume(p) for p in poses]) + noise((COUNT, *SHAPE), 0.5)) * field
    series = np.ascontiguousarray(frames.permute(1, 2, 3, 0).numpy())
    scan = read_scan(series, AFFINE.numpy(), mask.numpy(), 0)
    center = scan.head.center.expand(COUNT, 3)
    back = rigid.from_parameters(*(0.95 * p for p in rigid.to_parameters(poses, center)), center)
    assert clear(*Judge(scan.frames, scan.head, scan.usable).gain(back, poses))
    found = {"common": back, "tied": back} | {right: poses}
    mode, way, _ = _by_contrast(scan, monkeypatch, **found)
    assert mode == right
    torch.testing.assert_close(way.refined.poses, poses)


@pytest.mark.parametrize(("shown", "status"), [(0.1, "lost"), (0.99, "ok")])
def test_nothing_is_believed_beside_a_reference_that_others_do_not_show(
    moved, monkeypatch, shown, status
):
    scan, poses = moved

    def only(_judge, ways, *_):
        ways["plain"].refined.similarity[0] = shown
        return "plain", ways["plain"], None, ()

    monkeypatch.setattr(estimation, "do_no_harm", lambda *_: None)
    monkeypatch.setattr(estimation, "best_way", only)
    rough = Tracking(0, poses.numpy(), np.ones(COUNT), np.zeros(COUNT, dtype=bool))
    assert (refine_tracking(scan, rough).status[1:] == status).all()


@pytest.mark.parametrize(("share", "taken"), [(0.03, "common"), (0.09, "tied")])
def test_ties_win_by_more_than_where_all_are_drawn_aside(moved, monkeypatch, share, taken):
    scan, poses = moved
    monkeypatch.setattr(judge, "mean_gain", lambda _, theirs: (share * np.mean(theirs), 0.0))
    mode, _, told = _by_contrast(scan, monkeypatch, common=poses, tied=poses)
    assert mode == taken
    assert ("no better" in told) == (taken == "common")


def _by_contrast(scan, monkeypatch, common, tied):
    """The way that is taken of poses by common images and by ties."""
    track = Track(tied, np.ones(COUNT), np.zeros(COUNT, dtype=bool))
    template = scan.reference_image[None]
    in_pairs = Way(refine(scan, template, tied, scan.usable), template, track)
    in_pairs.refined.poses[:] = tied
    monkeypatch.setattr(changing, "refine_tied", lambda *_: in_pairs)
    joint = common, template, list(range(COUNT))
    monkeypatch.setattr(changing, "align_contrasts", lambda *_: joint)
    return changing.by_contrast(scan, track, ())


@pytest.mark.parametrize("deviation", [0.5, 30.0])
def test_a_reference_that_nothing_explains_is_said_to_be_one(mask, deviation):
    poses = random_poses(COUNT, 2.0, 2.0, seed=8)
    poses[0] = torch.eye(4)
    frames = torch.stack([volume(p) for p in poses]) + noise((COUNT, *SHAPE), 0.5)
    frames[0] = volume(poses[0]) + noise(SHAPE, deviation)
    series = np.ascontiguousarray(frames.permute(1, 2, 3, 0).numpy())
    found = estimation.estimate_motion(series, AFFINE.numpy(), mask=mask.numpy(), reference=0)
    said = any("Frame 0, the reference, is not explained" in one for one in found.findings)
    assert said == (deviation > 1), (found.findings, found.similarity)


@pytest.mark.parametrize(("sigma", "told"), [(5.0, False), (80.0, True)])
def test_frames_that_are_hardly_explained_are_told_of(mask, sigma, told):
    poses = random_poses(COUNT, 4.0, 2.0, seed=8)
    frames = torch.stack([volume(p) for p in poses]) + noise((COUNT, *SHAPE), sigma)
    few = MotionSettings(fine_points=4000, coarse_points=2000, search=False, network=False)
    series = frames.permute(1, 2, 3, 0).numpy()
    found = estimate_motion(series, AFFINE.numpy(), mask=mask.numpy(), reference=0, settings=few)
    assert any("hardly" in finding for finding in found.findings) == told
