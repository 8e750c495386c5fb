"""Spin history of places whose excitations are known, and how strong it is in a series."""

import math

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, SHAPE, f64
from unimo_bids.motion.slices.brightness import fit_history
from unimo_bids.motion.slices.history import Excitation, SpinHistory, usual_t1
from unimo_bids.motion.slices.thresholds import HISTORY
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, voxel_centers

TR, T1 = 2.0, 1.4
GRID = Grid(SHAPE, AFFINE)
OFFSETS = np.arange(SHAPE[2]) / SHAPE[2] * TR  # one slice after the other, upwards


def moved_up(slices: list[float]) -> torch.Tensor:
    """Poses ``(T, S, 4, 4)`` of a head that many slices further along their axis."""
    poses = torch.eye(4, dtype=torch.float64).repeat(len(slices), SHAPE[2], 1, 1)
    for t, by in enumerate(slices):
        poses[t, :, :3, 3] = by * AFFINE[:3, 2]
    return poses


def middle_of(signal: torch.Tensor) -> float:
    i, j, k = (n // 2 for n in SHAPE)
    return float(signal[i, j, k])


def test_at_rest_there_is_no_history():
    history = SpinHistory(GRID, 2, OFFSETS, moved_up([0.0] * 3), Excitation(70, T1, TR))
    signal = history.of_frame(2, torch.ones(SHAPE))
    assert float((signal - 1).abs().max()) < 0.01


def test_tissue_that_is_excited_late_is_bright_by_its_time():
    """Moved up by two slices, it waits for two slices' time longer, and once."""
    history = SpinHistory(GRID, 2, OFFSETS, moved_up([0.0, 2.0, 2.0]), Excitation(90, T1, TR))
    late = TR + 2 * TR / SHAPE[2]
    expected = (1 - math.exp(-late / T1)) / (1 - math.exp(-TR / T1))
    assert middle_of(history.of_frame(1, torch.ones(SHAPE))) == pytest.approx(expected, abs=0.003)
    assert middle_of(history.of_frame(2, torch.ones(SHAPE))) == pytest.approx(1, abs=0.003)


def test_what_lies_beyond_the_head_has_none():
    history = SpinHistory(GRID, 2, OFFSETS, moved_up([0.0, 2.0]), Excitation(90, T1, TR))
    head = torch.zeros(SHAPE)
    head[: SHAPE[0] // 4] = 1
    signal = history.of_frame(1, head)
    assert float((signal[SHAPE[0] // 4 :] - 1).abs().max()) == 0
    assert float((signal[: SHAPE[0] // 4] - 1).abs().max()) > 0.02


def test_strength_is_found_and_what_is_no_history_left_alone():
    rng = np.random.default_rng(0)
    frames, voxels = 40, 3000
    predicted = (1 + 0.03 * rng.standard_normal((frames, voxels))).astype(np.float32)
    used = np.ones(frames, dtype=bool)
    true = rng.uniform(0.5, 2.0, voxels)
    noise = 1 + 0.03 * rng.standard_normal((frames, voxels))
    signal = 1000 * (1 + true * (predicted - 1)) * noise
    found = fit_history(signal.astype(np.float32), predicted, used)
    assert found.worth and found.common == pytest.approx(true.mean(), rel=0.05)
    # each voxel has noise of its own: what is drawn together is nearer to the truth
    alone = np.array([np.polyfit(p, s, 1)[0] for p, s in zip(predicted.T, signal.T, strict=True)])
    assert np.std(found.strength - true) < np.std(alone / 1000 - true)
    nothing = fit_history((1000 * noise).astype(np.float32), predicted, used)
    assert not nothing.worth and nothing.explained < HISTORY.worth
    opposite = 1000 * (1 - true * (predicted - 1)) * noise
    assert fit_history(opposite.astype(np.float32), predicted, used).strength.max() < 0.3
    assert fit_history(signal[:6].astype(np.float32), predicted[:6], used[:6]) is None


def test_a_task_that_moves_nobody_is_not_eaten():
    rng = np.random.default_rng(1)
    task = np.tile(np.repeat([0.0, 1.0], 6), 5)
    predicted = (1 + 0.03 * rng.standard_normal((60, 2000))).astype(np.float32)
    noise = 0.02 * rng.standard_normal((60, 2000))
    signal = 1000 * (1 + predicted - 1 + 0.02 * task[:, None] + noise)
    found = fit_history(signal.astype(np.float32), predicted, np.ones(60, dtype=bool))
    without = signal / (1 + found.change(predicted))

    def likeness(series):
        return np.mean([np.corrcoef(task, one)[0, 1] for one in series.T])

    assert likeness(without) > likeness(signal) + 0.1


def test_longer_t1_in_stronger_fields():
    assert usual_t1(1.5) < usual_t1(None) == usual_t1(3.0) < usual_t1(7.0)


def test_nothing_of_a_turned_head_is_left_out_of_flat_voxels():
    """Half a slice is many voxels in the plane once the head is turned."""
    shape, flat = (40, 40, 10), torch.diag(torch.tensor([1.0, 1, 9, 1]).double())
    flat[:3, 3] = -flat.diagonal()[:3] * (torch.tensor(shape) - 1) / 2
    small = torch.zeros(shape)
    small[12:28, 12:28, 4:6] = 1
    quarter = rigid.from_parameters(f64([np.pi / 2, 0, 0]), f64([0.0, 0, 0]))
    poses = torch.stack([torch.eye(4).double(), quarter])[:, None].expand(2, 10, 4, 4)
    grid, offsets = Grid(shape, flat), np.linspace(0, TR, 10, endpoint=False)
    history = SpinHistory(grid, 2, offsets, poses, Excitation(80, T1, TR))
    index = history._voxels(1, small)[2]
    at = torch.linalg.inv(flat) @ torch.linalg.inv(quarter) @ flat
    places = rigid.transform(at, voxel_centers(shape)).round().long()
    inside = ((places >= 0) & (places < torch.tensor(shape))).all(dim=1)
    i, j, k = places[inside].T
    assert len(index[0]) == int((small[i, j, k] > 0).sum()) > 500


def test_nothing_of_a_turned_head_is_left_out():
    """All voxels that show a small head have what they have where everything is head."""
    small = torch.zeros(SHAPE)
    i, j, k = (n // 2 for n in SHAPE)
    small[i - 3 : i + 4, j - 2 : j + 3, k - 2 : k + 2] = 1
    way = rigid.from_parameters(
        torch.tensor([[0.0, 0, 0], [0.5, -0.4, 0.3]]).double(),
        torch.tensor([[0.0, 0, 0], [6.0, -5.0, 4.0]]).double(),
        torch.zeros(2, 3).double(),
    )
    poses = way[:, None].expand(2, SHAPE[2], 4, 4)
    history = SpinHistory(GRID, 2, OFFSETS, poses, Excitation(80, T1, TR))
    own, everywhere = (history.of_frame(1, head) for head in (small, torch.ones(SHAPE)))
    places = rigid.transform(rigid.inverse(way[1]) @ AFFINE, voxel_centers(SHAPE))
    at = rigid.transform(torch.linalg.inv(AFFINE), places).round().long()
    x, y, z = at.T
    inside = ((at >= 0) & (at < torch.tensor(SHAPE))).all(dim=1)
    shows = torch.zeros(len(at), dtype=torch.bool)
    shows[inside] = small[x[inside], y[inside], z[inside]] > 0
    shows = shows.reshape(SHAPE)
    assert int(shows.sum()) > 100
    assert float((everywhere[shows] - 1).abs().max()) > 0.05
    assert torch.equal(own, torch.where(shows, everywhere, 1.0))
