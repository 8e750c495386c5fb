"""The coils' gain: found in frames whose head moves through a field that is not made of waves."""

import numpy as np
import pytest
import torch

from unimo_bids.motion.slices.receive import fit_receive
from unimo_bids.spatial import rigid

FRAMES, PLACES, RADIUS = 24, 800, 60.0
CENTER = np.array([5.0, -10.0, 20.0])
ALL = np.ones(FRAMES, dtype=bool)


def near_a_coil(where: np.ndarray) -> np.ndarray:
    """Logarithm of the gain of two coils, falling with the square of the distance."""
    coils = CENTER + np.array([[95.0, 60.0, 20.0], [-110.0, 10.0, -30.0]])
    away = np.square(where[..., None, :] - coils).sum(axis=-1)
    return np.log((7000 / away).sum(axis=-1))


@pytest.fixture(scope="module")
def moved():
    """Places ``(T, N, 3)`` of a head that moves by some 5 mm and 5 degrees, and their noise."""
    rng = np.random.default_rng(0)
    places = rng.standard_normal((PLACES, 3))
    places *= RADIUS * rng.random((PLACES, 1)) ** (1 / 3) / np.linalg.norm(places, axis=1)[:, None]
    turns = np.deg2rad(5) * rng.standard_normal((FRAMES, 3))
    shifts = 5 * rng.standard_normal((FRAMES, 3))
    poses = rigid.from_parameters(torch.from_numpy(turns), torch.from_numpy(shifts)).numpy()
    where = np.einsum("tij,nj->tni", poses[:, :3, :3], places) + poses[:, None, :3, 3] + CENTER
    level = rng.uniform(200, 900, PLACES)
    noise = 1 + 0.03 * rng.standard_normal((FRAMES, PLACES))
    return where, (level * noise).astype(np.float32)


def about_means(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=0)
    return values - values.mean(axis=1, keepdims=True)


def test_its_change_is_found(moved):
    where, still = moved
    true = near_a_coil(where)
    gains = np.exp(0.1 * np.random.default_rng(1).standard_normal((FRAMES, 1)))  # of frames
    signal = (still * np.exp(true) * gains).astype(np.float32)
    found = fit_receive(signal, where, ALL, CENTER, RADIUS)
    assert found.worth
    change = about_means(true)
    left = about_means(true - np.stack([found(one) for one in where]))
    assert np.square(left).mean() < 0.1 * np.square(change).mean()
    # what it explains of frames unseen is no more than there is to explain
    share = np.square(change).mean() / np.square(about_means(np.log(signal))).mean()
    assert 0.5 * share < found.explained < 1.1 * share


def test_lost_parts_and_places_out_of_view_do_not_mislead(moved):
    where, still = moved
    true = near_a_coil(where)
    signal = (still * np.exp(true)).astype(np.float32)
    signal[::3, where[0, :, 1] > np.quantile(where[0, :, 1], 0.7)] *= 0.1
    signal[1::4, where[0, :, 2] > np.quantile(where[0, :, 2], 0.9)] = 0
    found = fit_receive(signal, where, ALL, CENTER, RADIUS)
    left = about_means(true - np.stack([found(one) for one in where]))
    assert np.square(left).mean() < 0.2 * np.square(about_means(true)).mean()


def test_where_there_is_none_nothing_is_removed(moved):
    where, still = moved
    assert not fit_receive(still, where, ALL, CENTER, RADIUS).worth


def test_few_frames_do_not_tell(moved):
    where, still = moved
    assert fit_receive(still, where, np.arange(FRAMES) < 7, CENTER, RADIUS) is None
