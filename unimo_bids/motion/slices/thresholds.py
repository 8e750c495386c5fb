"""Thresholds of motion inside frames, with their origins."""

from __future__ import annotations

from dataclasses import dataclass

from unimo_bids.origins import convention, derived, measured


@dataclass(frozen=True)
class Following:
    """Whether slices are followed, and frames made from them."""

    moves_mm: float = convention(0.5, "from frame to frame, that most studies leave out")
    moving_share: float = convention(0.05, "of frames that move; fewer are not worth a smoothing")
    clearly: float = measured(
        0.03,
        "of correlation, by which one pose has to be better: templates made with such poses like "
        "them by up to .018 (six series), a slip in gaps costs .07",
        shown=True,
    )


@dataclass(frozen=True)
class Calm:
    """The template of calm frames."""

    share: float = convention(0.75, "of good frames, those that move least within themselves")
    fewest: int = measured(
        8,
        "good frames, of which six are calm, as many as the template of all has; with five "
        "good frames mosaic04 lost .004 of its median correlation",
        shown=True,
    )


@dataclass(frozen=True)
class Judge:
    """Whether a trajectory explains slices that had no part in it."""

    clear: float = convention(3.0, "standard errors over a frame's slices, or over frames")
    usual: float = derived(
        1.5, "half of that, for the frame in the middle: .6 to 1.1 where heads rest, 4 where not"
    )
    fewest: int = convention(4, "slices")
    doubted: int = convention(8, "frames, before the order of slices is doubted")


@dataclass(frozen=True)
class History:
    """Whether spin history is taken away."""

    worth: float = convention(
        0.02, "of the variance over time, explained in frames unseen: a hundredth of tSNR"
    )
    fewest: int = convention(8, "frames, of which each half has four")
    least: float = convention(1e-3, "rms change of brightness; less is nothing")
    asked: int = convention(
        24, "good frames, before slices are fitted without it; by them all or none are"
    )


@dataclass(frozen=True)
class Receive:
    """How much the coils' gain may vary; whether it is removed is decided as of `History`."""

    usual: float = convention(0.2, "logarithm of the gain, strength of a wave")
    count: float = convention(0.05, "of a place as an observation: neighbours err alike")
    most: float = convention(2.0, "times as bright or dark as usual; beyond, signal was lost")


@dataclass(frozen=True)
class MostLost:
    """Parts of a head without signal."""

    share: float = convention(0.5, "of the head; of more, the template may have lost the rest")


FOLLOWING = Following()
CALM = Calm()
JUDGE = Judge()
HISTORY = History()
MOST_LOST = MostLost()
RECEIVE = Receive()
