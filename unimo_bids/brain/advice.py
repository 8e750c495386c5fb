"""What to do about a brain mask that is in doubt, a short clause for each doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unimo_bids.brain.extraction import NOTHING
from unimo_bids.brain.finder import CUT, IN_BODY, METHOD
from unimo_bids.brain.mask import BrainMask, Candidate, ball_radius
from unimo_bids.brain.place import OPTION, option_for
from unimo_bids.brain.thresholds import ADVICE

_MOST = 3  # that are told

# How doubts begin, or what they have in them, that say more than "this may be the wrong place"
_SEVERAL = "like a brain as well"
_IN_VIEW = {
    CUT: "go on if the outline follows what is in view",
    IN_BODY: "say so if it is that of a fetus (--population fetal)",
    "part of it is dark": "go on if the outline keeps to the brain",
}


def runners_up(candidates: Sequence[Candidate], chosen: bool) -> list[Candidate]:
    """Candidates that lie elsewhere than the chosen one, and each other; the likeliest first."""
    kept = list(candidates[:chosen])
    for one in sorted(candidates[chosen:], key=lambda one: -one.confidence):
        if all(_apart(one, other) for other in kept):
            kept.append(one)
    return kept[chosen:]


def _apart(one: Candidate, other: Candidate) -> bool:
    """Whether the centre of neither is in a ball of the other's volume."""
    return math.dist(one.center, other.center) > ball_radius(max(one.volume, other.volume))


def confidence(brain: BrainMask) -> float | None:
    """That the chosen place is a brain, 0 … 1; None where nothing tells."""
    chosen = brain.candidates[:1] if brain.method == METHOD else ()
    return chosen[0].confidence if chosen else None


def advised(brain: BrainMask, *, pointed: bool = False) -> list[str]:
    """Say of all doubts what to do next; those that ask for the same are told together."""
    asking: dict[str, list[str]] = {}
    for doubt in brain.doubts:
        asking.setdefault(_step(doubt, brain, pointed), []).append(doubt)
    return [f"{'; '.join(doubts)}: {step}" for step, doubts in asking.items()]


def _step(doubt: str, brain: BrainMask, pointed: bool) -> str:
    for beginning, step in _IN_VIEW.items():
        if doubt.startswith(beginning):
            return f"{step}, else draw a mask"
    others = runners_up(brain.candidates, brain.method == METHOD)
    likely = [one for one in others if one.confidence >= ADVICE.likely][:_MOST]
    if doubt == NOTHING and pointed:
        return "give another place, or draw a mask"
    if doubt == NOTHING:
        verb = "try" if others else "point at it with"
        return f"{_pointing(verb, others[:_MOST])}, or draw a mask"
    if pointed:
        return "give another place if that is no brain, draw a mask if the outline is wrong"
    if _SEVERAL in doubt:
        return _pointing("choose one with", likely or others[:1])
    where = "there" if likely else "elsewhere"
    pointing = _pointing("give", likely)
    return f"{pointing} if the brain is {where}, draw a mask if the outline is wrong"


def _pointing(verb: str, places: list[Candidate]) -> str:
    """Tell how to point at the brain: by numbers to copy, where there are any."""
    options = [option_for(one.center) for one in places] or [f"{OPTION}=X,Y,Z"]
    return f"{verb} {' or '.join(options)}"
