"""The recipe of the sequence model: series to watch, and what is drawn of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import ablations
from tests.networks.moving import known
from unimo_bids.networks.temporal import Answer, TemporalNetwork
from unimo_bids.networks.weights import load_weights
from unimo_bids.spatial import rigid
from unimo_bids.training import calibration, judged, track
from unimo_bids.training.loop import Schedule
from unimo_bids.training.packing import pack
from unimo_bids.training.recipe import follow
from unimo_bids.training.sequences import load, unwatched, watch
from unimo_bids.training.trajectories import Recording, adult_like, recorded, window


def turning(name: str = "010203L", held_back: bool = False, many: int = 60) -> Recording:
    """A head that turns to and fro by 20 degrees and wanders by 10 mm."""
    phase = np.arange(many)[:, None] * [0.11, 0.07, 0.05]
    return Recording(0.35 * np.sin(phase), 10 * np.cos(phase), 2.0, name, held_back)


@pytest.fixture(scope="module")
def watched(balls):
    """Eight clean frames of a ball in a shell."""
    head = next(one for one in balls if one.kind == "fetal")
    times = 2.0 * np.arange(8)
    return watch(np.random.default_rng(0), head, turning(), times, clean=True, masked=True)


def test_representations_move_as_the_head_does(watched):
    (found,) = track.tracks([watched])
    # a ball looks the same from all sides: only its place can be told; voxels are 2 to 5 mm
    assert float(track.errors(found)[:, 1].norm(dim=-1).max()) < 0.5
    moved = found.true_place - found.true_place[0]
    assert float(moved.norm(dim=-1).max()) > 3


def test_a_file_of_series_is_what_was_saved(watched, tmp_path):
    way = unwatched(turning(), 2.0 * np.arange(20), 40.0, "fetal")
    pack([watched, way], tmp_path / "series.npz")
    first, second = load(tmp_path / "series.npz")
    np.testing.assert_array_equal(first.points, watched.points)
    assert (first.name, first.held_back) == (watched.name, False)
    assert len(second.times) == 20
    assert second.points.shape == (20, 0, 3)


def test_recordings_are_held_back_by_date(tmp_path):
    rng, arrays = np.random.default_rng(0), {}
    for day in range(1, 9):
        for letter in "LS":
            name = f"01{day:02}18{letter}"
            arrays[f"{name}_rotvec_rad"] = rng.standard_normal((9, 3))
            arrays[f"{name}_trans_mm"] = rng.standard_normal((9, 3))
            arrays[f"{name}_dt_s"] = np.array(2.5)
    np.savez(tmp_path / "t.npz", **arrays)
    dates = {one.name[:6] for one in recorded(tmp_path / "t.npz") if one.held_back}
    kept = {one.name[:6] for one in recorded(tmp_path / "t.npz") if not one.held_back}
    assert len(dates) == 2
    assert not dates & kept


def test_a_turn_past_half_a_turn_goes_on(tmp_path):
    whole = np.linspace(0, 5, 26)[:, None] * [0.0, 0.0, 1.0]  # rad
    wrapped = rigid.rotation_vector(rigid.rotation_matrix(torch.as_tensor(whole))).numpy()
    assert np.abs(np.diff(wrapped, axis=0)).max() > 3
    np.savez(
        tmp_path / "t.npz",
        **{"010203_rotvec_rad": wrapped, "010203_trans_mm": 0 * whole, "010203_dt_s": 2.0},
    )
    (found,) = recorded(tmp_path / "t.npz")
    np.testing.assert_allclose(found.turn, whole, atol=1e-6)


def test_windows_lie_within_their_recording():
    rng = np.random.default_rng(1)
    for _ in range(20):
        one, times = window(rng, [turning()], 24)
        assert 0 <= times.min() <= times.max() <= one.seconds
        assert len(set(np.sign(np.diff(times)))) == 1


def test_an_adult_moves_by_millimetres():
    most = [
        np.linalg.norm(adult_like(np.random.default_rng(n), 100, 2.0, False).shift, axis=1).max()
        for n in range(10)
    ]
    assert 0.1 < np.median(most) < 5


def measured(many: int = 48, seed: int = 0) -> track.Track:
    """A way that was measured with noise of 1 mm."""
    way = unwatched(turning(many=many), 2.0 * np.arange(many), 40.0, "fetal")
    (one,) = track.tracks([way])
    own = torch.ones(many, 2).double()
    rng = np.random.default_rng(seed)
    noisy = track.off_by(one.true_rotation, one.true_place, own, 40.0, rng)
    evidence = torch.as_tensor(rng.standard_normal(one.evidence.shape))
    return replace(one, rotation=noisy[0], place=noisy[1], evidence=evidence, watched=True)


def test_borrowed_measurements_are_off_as_they_were():
    donor = measured(seed=3)
    way = track.tracks([unwatched(turning(), 2.0 * np.arange(60), 20.0, "fetal")])[0]
    found = track.borrowed(way, donor, np.random.default_rng(0))
    evidence = found.evidence.tolist()
    lent = [donor.evidence.tolist().index(one) for one in evidence]
    expected = track.errors(donor)[lent] * 0.5  # on half the radius
    torch.testing.assert_close(track.errors(found), expected)


def test_what_is_drawn_is_consistent_however_it_is_varied():
    ground = track.Ground([measured()], [])
    for step in range(4):
        drawn = track.draw(ground, 6, np.random.default_rng(step))
        assert bool((drawn.known.times.diff(dim=1) > 0).all())
        off = track.off(drawn.known.rotation, drawn.known.place, drawn)
        assert float(off[drawn.known.measured].norm(dim=-1).median()) < 4  # noise, no mirror image
        assert int(drawn.known.measured.sum(1).min()) >= 4


@pytest.mark.slow
def test_each_part_is_left_out_and_judged(watched, tmp_path, monkeypatch):
    monkeypatch.setattr(track, "_LENGTHS", (8,))
    monkeypatch.setattr(calibration, "_BATCHES", 2)
    monkeypatch.setattr(judged, "LENGTHS", ())
    several = [replace(watched, name=f"{n}", held_back=n > 6) for n in range(8)]
    pack(several, tmp_path / "series.npz")
    table = ablations.ablate(tmp_path / "series.npz", tmp_path / "out", Schedule(1), batch=2)
    assert [row.split(" | ")[0][2:] for row in table.splitlines()[2:]] == [*ablations.VARIANTS]
    assert (tmp_path / "out" / "ablations.md").read_text() == table


@pytest.mark.slow
def test_the_recipe_leaves_weights_that_load_and_a_card(watched, tmp_path, monkeypatch):
    monkeypatch.setattr(track, "_LENGTHS", (8,))
    monkeypatch.setattr(calibration, "_BATCHES", 2)
    monkeypatch.setattr(judged, "LENGTHS", ())
    kept = unwatched(turning("020203", True), 2.0 * np.arange(30), 40.0, "fetal")
    several = [replace(watched, name=f"{n}", held_back=n > 6) for n in range(8)]
    pack([*several, kept], tmp_path / "series.npz")
    tables = follow(
        judged.RECIPE, tmp_path / "series.npz", tmp_path, Schedule(2), batch=2, validation=1
    )
    assert "| fetal | lost | even motion |" in tables
    assert "| fetal | all | the pose network alone |" in tables
    load_weights(TemporalNetwork(), tmp_path / "track.safetensors")
    assert (tmp_path / "track.safetensors").stat().st_size < 2_000_000
    assert "2 steps of 2 series, seed 0" in (tmp_path / "track.md").read_text()


def test_deviations_far_too_small_are_calibrated_as_errors_are():
    many, network = 40, TemporalNetwork()
    still, times = torch.eye(3).double().expand(many, 3, 3), torch.arange(many).double()
    off = torch.as_tensor(np.random.default_rng(2).standard_normal((many, 3)))
    seen = known(still, off, times, deviation=0.0)
    answer = Answer(
        still[None],
        off[None],
        torch.full((1, many, 2), 0.02),
        network(seen).way,
        torch.zeros(1, many, 2, 3),
    )
    drawn = track.Drawn(seen, still[None], torch.zeros(1, many, 3).double())
    calibration._fit_deviations(network, [drawn], [answer])
    assert 35 < float(network.calibration[0, 0, 1]) < 75  # 1 mm is 50 times 0.02 mm
