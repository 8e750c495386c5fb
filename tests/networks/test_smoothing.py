import numpy as np
import torch

from tests.networks.moving import RADIUS, constant, known, uneven
from unimo_bids.networks.smoothing import Prior, smooth
from unimo_bids.spatial import rigid

NEVER = 1e4


def keeping(memory: float, tail: float) -> Prior:
    """Velocities grow by 0.3 and 0.1 (mm/s)²/s, and are kept for as long as is said."""
    return Prior((0.0, 0.0), (0.15 * memory, 0.05 * memory), memory, tail)


PRIOR = keeping(1e4, 3.0)
AS_SHIPPED = Prior((3.0, 10.0), (0.3, 1.0), 5.0, 3.0)


def smoothed(seen, deviation=None, prior=PRIOR):
    radius = torch.tensor([RADIUS]).double()
    deviation = seen.deviation if deviation is None else deviation
    return smooth(seen.rotation, seen.place, deviation, seen.times, radius, prior)


def test_constant_velocity_goes_on_through_gaps_and_ahead():
    times = uneven(20)
    rotation, place = constant(times)
    seen = known(rotation, place, times, deviation=1e-4)
    deviation = seen.deviation.clone()
    unseen = [0, 6, 7, 8, 18, 19]
    deviation[:, unseen] = NEVER
    way = smoothed(seen, deviation)
    # local means of up to 6 s are where the first round starts; what is left of them is small
    assert float((way.place[0] - place)[unseen].norm(dim=-1).max()) < 0.01
    off = rigid.rotation_vector(way.rotation[0].mT @ rotation)
    assert float(off[unseen].norm(dim=-1).max()) * RADIUS < 0.05
    assert way.deviation[0, 7, 0] > 10 * way.deviation[0, 4, 0]


def test_it_is_what_a_kalman_smoother_finds():
    times = uneven(15)
    rng = np.random.default_rng(3)
    place = torch.as_tensor(rng.standard_normal((15, 3))).cumsum(0)
    rotation = torch.eye(3).double().expand(15, 3, 3)
    seen = known(rotation, place, times, deviation=0.3)
    way = smoothed(seen, prior=keeping(1e5, 1e9))  # without tails: linear
    expected = _rauch_tung_striebel(seen.place[0].numpy(), times.numpy(), 0.3**2, 0.1)
    np.testing.assert_allclose(way.place[0].numpy(), expected, atol=1e-4)


def _rauch_tung_striebel(places, times, variance, strength):
    state, spread = np.zeros((2, 3)), np.diag([1e8, 1e8])
    states, spreads, steps = [], [], []
    for t, place in enumerate(places):
        if t:
            d = times[t] - times[t - 1]
            move = np.array([[1, d], [0, 1]])
            noise = strength * np.array([[d**3 / 3, d**2 / 2], [d**2 / 2, d]])
            steps.append((move, move @ spread @ move.T + noise))
            state, spread = move @ state, steps[-1][1]
        gain = spread[:, :1] / (spread[0, 0] + variance)
        state, spread = state + gain * (place - state[0]), spread - gain @ spread[:1]
        states.append(state)
        spreads.append(spread)
    out = [states[-1]]
    for t in range(len(places) - 2, -1, -1):
        move, ahead = steps[t]
        back = spreads[t] @ move.T @ np.linalg.inv(ahead)
        out.append(states[t] + back @ (out[-1] - move @ states[t]))
    return np.array([one[0] for one in out[::-1]])


def test_what_moves_by_chance_goes_evenly_through_a_gap_and_rests_ahead():
    times = uneven(12)
    rotation, place = constant(times)
    place = place + torch.as_tensor(np.random.default_rng(1).standard_normal((12, 3))).cumsum(0)
    seen = known(rotation, place, times, deviation=1e-4)
    deviation = seen.deviation.clone()
    deviation[:, [5, 6, 11]] = NEVER
    way = smoothed(seen, deviation, Prior((1.0, 1.0), (0.0, 0.0), 1.0, 1e9)).place[0]
    share = ((times[5] - times[4]) / (times[7] - times[4])).item()
    expected = (1 - share) * place[4] + share * place[7]
    np.testing.assert_allclose(way[5], expected, atol=1e-3)
    np.testing.assert_allclose(way[11], place[10], atol=1e-3)


def test_a_frame_that_is_far_off_is_not_believed():
    times = uneven(20)
    rotation, place = constant(times)
    seen = known(rotation, place, times, deviation=0.1)
    seen.place[0, 9] += 30.0
    way = smoothed(seen)
    assert float((way.place[0, 9] - place[9]).norm()) < 0.5
    assert way.share[0, 9, 1] < 0.01
    assert way.share[0, 4, 1] > 0.3


def test_the_jumps_of_a_restless_head_are_believed():
    rng, times = np.random.default_rng(5), uneven(20)
    jumps = torch.as_tensor(10 * rng.standard_normal((20, 3)))
    still = torch.eye(3).double().expand(20, 3, 3)
    turning = rigid.rotation_matrix(jumps / RADIUS)
    for turn, place in ((still, jumps), (turning, torch.zeros(20, 3).double())):
        seen = known(turn, place, times, deviation=0.3)
        way = smoothed(seen, prior=AS_SHIPPED)
        off = rigid.rotation_vector(way.rotation[0].mT @ turn).norm(dim=-1) * RADIUS
        # mm; a few deviations. With one strength for all, frames are up to 23 mm off
        assert float(off.max()) < 1.0
        assert float((way.place[0] - place).norm(dim=-1).max()) < 1.0


def test_a_calm_head_is_held_where_measurements_scatter():
    times = uneven(20)
    noise = torch.as_tensor(2 * np.random.default_rng(6).standard_normal((20, 3)))
    seen = known(torch.eye(3).double().expand(20, 3, 3), noise, times, deviation=2.0)
    off = smoothed(seen, prior=AS_SHIPPED).place[0].norm(dim=-1)
    # .69 of the scatter; 1.09 with one strength for all
    assert float(off.mean()) < 0.85 * float(noise.norm(dim=-1).mean())


def test_a_head_that_is_turned_anyhow_in_every_frame_is_believed():
    rng, times = np.random.default_rng(8), uneven(20)
    turns = rng.standard_normal((20, 3))
    turns *= rng.uniform(0, np.pi, (20, 1)) / np.linalg.norm(turns, axis=1, keepdims=True)
    turn = rigid.rotation_matrix(torch.as_tensor(turns))
    seen = known(turn, torch.zeros(20, 3).double(), times, deviation=0.3)
    way = smoothed(seen, prior=AS_SHIPPED)
    off = rigid.rotation_vector(way.rotation[0].mT @ turn).norm(dim=-1) * RADIUS
    assert float(off.max()) < 1.5  # mm; a few deviations
