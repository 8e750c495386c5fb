"""Thresholds of the brain finder, with their origins."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unimo_bids.origins import convention, derived, measured


@dataclass(frozen=True)
class Candidates:
    """Where brains may be, by *find*."""

    response: float = convention(0.03, "of a blob of probability; lower ones only cost time")
    air: float = convention(0.02, "of the brightest window; what is darker holds nothing")
    least_ml: float = derived(8.0, "a fetal brain of 18 weeks of which half is out of view")
    off_center: float = convention(0.25, "radii that a box may be beside a brain to show it well")
    off_size: float = convention(1.2, "times that it may be too large or small")


@dataclass(frozen=True)
class Ranking:
    """Which outline is the brain, and which others might be."""

    wrong_size: float = derived(0.3, "log of sizes: boxes in training were off by half of it")
    agreement: float = convention(0.02, "what each box that agrees adds to the score")
    score: float = convention(2.0, "log-odds that a score of 1 is worth; see the notes on brains")
    nothing: float = convention(0.02, "confidence below which nothing is taken for a brain")
    off_volume: float = convention(1.4, "times too large or small for any brain of its kind")
    sure: float = derived(0.0, "log-odds: more likely a brain than not; parts are not looked at")
    rival: float = derived(0.5, "confidence: more likely a brain than not")
    rival_odds: float = measured(
        3.0,
        "27 real stacks without twins: in 25 other places have odds 6 times less and more, in two "
        "a trunk has half of the brain's",
        shown=True,
    )
    rival_size: float = convention(3.0, "times smaller, and it is no twin")
    largest_unborn_ml: float = derived(520.0, "a fetal brain at term, with fluid and a rim")


@dataclass(frozen=True)
class Outlines:
    """Where a brain ends."""

    unborn: float = measured(
        0.35,
        "of *segment*'s probability: 299 fetal brains in new volumes of the anatomies trained on, "
        "no real stacks: at .5 they are 6.5 % too small, at .35 right",
    )


@dataclass(frozen=True)
class Doubts:
    """What makes a mask doubtful."""

    sure: float = derived(0.5, "confidence: more likely a brain than not")
    probability: float = measured(
        0.893,
        "mean within the mask, new volumes of the anatomies trained on: 19 in 20 of 117 right "
        "ones have more, 6 of 13 wrong ones",
    )
    flat: float = measured(
        0.025,
        "structure: 19 real brains have .056 and more, simulated ones .04, phantoms .01",
        shown=True,
    )
    dark: float = convention(0.3, "of the median within the mask")
    most_dark: float = measured(
        0.08,
        "share of the mask: 16 of 19 real brains have less than .07; two others reach into the "
        "face, one holds an eye",
        shown=True,
    )
    tissue: float = convention(0.3, "of the median within the mask; air and noise have less")
    most_tissue: float = measured(
        0.5,
        "share of what is 25 to 40 mm away, new volumes of the anatomies trained on: 28 of 30 "
        "adults and infants have less, all 20 fetuses more",
    )
    cut: float = convention(0.5, "of the widest section, at the edges of the field of view")
    solid: float = measured(0.8, "solidity: brains and slabs of them have .86 to .97", shown=True)


@dataclass(frozen=True)
class Advice:
    """Of which other places a person is told."""

    likely: float = convention(0.2, "confidence; less is told only if there is nothing better")


@dataclass(frozen=True)
class Voting:
    """The brain by several frames."""

    believed: float = convention(0.9, "confidence of a mask without candidates and doubts")
    doubted: float = convention(0.5, "the same with a doubt")
    absent: float = derived(
        0.2, "confidence where a frame shows nothing: two frames of five that believe suffice"
    )
    most: float = derived(0.95, "confidence that counts: no frame outweighs the others")
    clear: float = convention(math.log(4), "log-odds of a clear brain: 4 to 1")
    lead: float = convention(math.log(5), "log-odds that any other place is behind")
    near: float = convention(1.0, "radii between the centres of one brain in two frames")
    sizes: float = convention(2.0, "ratio of its volumes in two frames")
    same: float = derived(0.75, "Dice in two frames; 90° about any axis leave .85")


@dataclass(frozen=True)
class Shape:
    """The brain by intensity and shape, where networks find none."""

    bright: float = measured(
        0.65,
        "of the local mean: from .7 on real brains fall apart, below more scalp is taken",
        shown=True,
    )
    smallest_ml: float = derived(30.0, "the brain of a fetus of 20 weeks")
    largest_ml: float = derived(2400.0, "all within the largest skulls, 2000 ml, and a rim")
    largest_head_ml: float = derived(4500.0, "with face and neck; what is larger is a body")
    full: float = convention(0.9, "of the field of view: no air is left about it")
    share: float = convention(0.4, "of what is not air is brain; a low slice shows much besides")


@dataclass(frozen=True)
class Head:
    """What is too small to have a motion."""

    fewest_voxels: int = measured(
        50,
        "a simulated head: 8 voxels of 4 mm leave deviations of 1 mm, 27 of .25, 64 of .14; a "
        "slice of the smallest brain has 70",
    )
    smallest_ml: float = convention(1.0, "less is no part of a head that one can see")
    smallest_radius: float = derived(12.0, "mm; the brain of a fetus of 18 weeks, 8 to 15 ml")


CANDIDATES = Candidates()
RANKING = Ranking()
OUTLINES = Outlines()
DOUBTS = Doubts()
ADVICE = Advice()
VOTING = Voting()
SHAPE = Shape()
HEAD = Head()
