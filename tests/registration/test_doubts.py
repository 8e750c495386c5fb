"""What is believed of a pose, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from unimo_bids.registration.doubts import Evidence, Rivals, doubts

GOOD = Evidence(
    stiff=Rivals(0.8, 0.2), last=Rivals(0.85, 0.3), confidence=0.9, network_deg=8.0
)  # as most real pairs


def test_what_is_alike_and_alone_is_believed():
    assert doubts(GOOD) == ()
    assert doubts(replace(GOOD, confidence=None, network_deg=None)) == ()
    assert doubts(replace(GOOD, last=Rivals(1.0, None), stiff=Rivals(1.0, None))) == ()


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"stiff": Rivals(0.4, 0.1)}, "not much alike"),
        ({"stiff": Rivals(0.8, 0.75)}, "Another pose explains nearly as much"),
        # a model that bends may prefer another pose than the stiff one
        ({"last": Rivals(0.59, 0.68)}, "0.68; that of the pose is 0.59"),
        ({"body": True}, "larger than a head"),
        ({"mirror": 0.9}, "are left and right exchanged"),
        ({"network_deg": 120.0}, "turned by 120°"),
        ({"refined": False, "confidence": 0.7}, "not sure"),
    ],
)
def test_what_may_be_wrong_is_doubted(seen, said):
    (found,) = doubts(replace(GOOD, **seen))
    assert said in found


def test_a_mirror_image_that_is_about_as_alike_is_no_doubt():
    assert doubts(replace(GOOD, mirror=0.87)) == ()


def test_a_network_that_is_not_sure_contradicts_nothing():
    assert doubts(replace(GOOD, confidence=0.7, network_deg=120.0)) == ()


def test_nor_does_a_sure_one_where_all_is_explained():
    assert doubts(replace(GOOD, network_deg=120.0, last=Rivals(0.98, 0.3))) == ()


def test_a_sure_network_alone_is_believed():
    alone = replace(GOOD, stiff=Rivals(0.4, None), last=Rivals(0.4, None), refined=False)
    assert doubts(alone) == ()
