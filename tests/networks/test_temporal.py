from dataclasses import replace

import pytest
import torch

from tests.networks.moving import RADIUS, constant, known, uneven
from unimo_bids.networks import temporal
from unimo_bids.networks.temporal import TemporalNetwork, through
from unimo_bids.spatial import rigid


@pytest.fixture(scope="module")
def network():
    """With weights that answer something."""
    torch.manual_seed(0)
    network = TemporalNetwork().eval()
    for layer in (network.out_vectors, network.out_numbers):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return network


@pytest.fixture
def seen():
    times = uneven(24)
    rotation, place = constant(times)
    found = known(rotation, place, times, deviation=1.0)
    deviation = torch.where(torch.arange(24)[None, :, None] % 2 == 0, 0.0, found.deviation)
    measured = torch.ones(1, 24, dtype=torch.bool)
    measured[0, [5, 6, 23]] = False
    return replace(found, deviation=deviation, measured=measured)


def turned(points, rotation):
    return points @ rotation.mT


def test_turning_and_shifting_the_world_turns_the_answer(network, seen):
    turn = rigid.random_rotations(1, torch.Generator().manual_seed(1))[0]
    shift = torch.tensor([30.0, -20.0, 5.0]).double()
    moved = replace(seen, rotation=turn @ seen.rotation, place=turned(seen.place, turn) + shift)
    before, after = network(seen), network(moved)
    torch.testing.assert_close(after.rotation, turn @ before.rotation, atol=1e-5, rtol=0)
    expected = turned(before.place, turn) + shift
    torch.testing.assert_close(after.place, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(after.deviation, before.deviation, atol=1e-4, rtol=1e-4)
    # and it did answer something
    assert before.correction.norm(dim=-1).mean() > 0.05


def test_turning_the_heads_space_turns_the_answer(network, seen):
    turn = rigid.random_rotations(1, torch.Generator().manual_seed(2))[0]
    apart = turned(seen.disagreement, turn)
    before = network(seen)
    after = network(replace(seen, rotation=seen.rotation @ turn.mT, disagreement=apart))
    torch.testing.assert_close(after.rotation @ turn, before.rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.place, before.place, atol=1e-4, rtol=0)
    correction = turned(before.correction, turn.float())
    torch.testing.assert_close(after.correction, correction, atol=1e-4, rtol=0)


def test_later_all_the_same(network, seen):
    after = network(replace(seen, times=seen.times + 1000.0))
    torch.testing.assert_close(after.place, network(seen).place, atol=1e-4, rtol=0)


def test_what_was_measured_in_vain_says_nothing(network, seen):
    lost = ~seen.measured[0]
    other = replace(seen, place=torch.where(lost[None, :, None], 99.0, seen.place))
    torch.testing.assert_close(network(other).place, network(seen).place, atol=1e-3, rtol=0)


def test_a_time_nobody_asked_for_changes_little_of_the_way(network, seen):
    kept = torch.arange(24) != 6  # a frame that was lost
    parts = replace(
        seen,
        **{
            name: getattr(seen, name)[:, kept]
            for name in ("rotation", "place", "evidence", "disagreement", "deviation", "times")
        },
        measured=seen.measured[:, kept],
    )
    way, fewer = network(seen).way, network(parts).way
    torch.testing.assert_close(way.place[:, kept], fewer.place, atol=0.02, rtol=0)


def test_without_attention_no_frame_sees_another(seen):
    torch.manual_seed(0)
    alone = TemporalNetwork(without=["attention"]).eval()
    torch.nn.init.normal_(alone.out_vectors.weight, std=0.3)
    other = replace(seen, disagreement=seen.disagreement.clone())
    other.disagreement[0, 10] *= -1
    change = (alone(other).correction - alone(seen).correction).norm(dim=-1).sum(-1)[0]
    assert change[10] > 0
    assert change[torch.arange(24) != 10].max() == 0


def test_without_the_future_nothing_later_changes_an_answer(seen):
    torch.manual_seed(0)
    causal = TemporalNetwork(without=["future"]).eval()
    for layer in (causal.out_vectors, causal.out_numbers):
        torch.nn.init.normal_(layer.weight, std=0.3)
    later = torch.arange(24)[None, :, None] > 14
    other = replace(
        seen,
        place=torch.where(later, seen.place + 9.0, seen.place),
        evidence=torch.where(later, 2 * seen.evidence, seen.evidence),
    )
    with torch.inference_mode():
        before, after = causal(seen), causal(other)
    torch.testing.assert_close(after.place[:, :15], before.place[:, :15], atol=1e-3, rtol=0)
    torch.testing.assert_close(after.deviation[:, :15], before.deviation[:, :15], atol=1e-3, rtol=0)
    assert float((after.place - before.place)[0, 15:].norm(dim=-1).min()) > 1
    # what is ahead is where the head is on its way to, about: it keeps its velocity
    truth = constant(seen.times[0])[1]
    assert float((before.way.place[0, 12:] - truth[12:]).norm(dim=-1).max()) < 6  # measured to 1 mm


def test_a_long_series_in_parts_is_about_what_it_is_as_a_whole(network, monkeypatch):
    times = 2.0 * torch.arange(90).double()
    rotation, place = constant(times)
    seen = known(rotation, place, times, deviation=1.0)
    whole = through(network, seen)
    monkeypatch.setattr(temporal, "WINDOW", 60)
    monkeypatch.setattr(temporal, "OVERLAP", 30)
    parts = through(network, seen)
    assert parts.place.shape == whole.place.shape
    assert parts.way.share.shape == whole.way.share.shape
    apart = (parts.way.place - whole.way.place).norm(dim=-1)
    assert float(apart.max()) < 0.05  # mm: the way forgets within 15 frames


def test_deviations_are_those_of_the_registration_where_there_was_one(network, seen):
    found = network.deviations(seen)
    assert found[0, 1].tolist() == pytest.approx([1.0, 1.0])
    assert found[0, 2].tolist() != pytest.approx([1.0, 1.0])
    assert float(found.detach().max()) < RADIUS
