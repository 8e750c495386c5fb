"""Whether to believe the pose between two volumes.

A wrong pose may explain much of a volume: heads are round, and a smooth field bends what does not
fit. What tells is how alike the volumes are by a stiff model, how much more the pose explains than
any other does, and what the network thinks. The numbers were chosen on the real pairs of
`python -m benchmarks pairs`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from unimo_bids.registration.thresholds import DOUBTS, PAIR


@dataclass(frozen=True)
class Rivals:
    """Similarity, 0 … 1, of a pose, and of the best that is clearly another (None if none is)."""

    best: float
    runner_up: float | None

    @property
    def lead(self) -> float:
        """How far ahead the best is, by Fisher's z: from 0.8 to 0.9 is more than from 0.5 to 0.6.

        Examples
        --------
        >>> round(Rivals(0.6, 0.5).lead, 2), round(Rivals(0.9, 0.8).lead, 2)
        (0.14, 0.37)
        """
        best, other = (math.atanh(min(s or 0.0, 1 - 1e-6)) for s in (self.best, self.runner_up))
        return best - other


@dataclass(frozen=True)
class Evidence:
    """Evidence for and against a pose that was found.

    Attributes
    ----------
    stiff
        By gain and offset alone, which a misplaced head cannot bend to its fit.
    last
        By the model of the last step.
    confidence
        The network's, None without network.
    network_deg
        Angle between its pose and the one that was found.
    refined
        Whether it was refined; else it is the network's.
    body
        Whether what was registered, without a mask, is larger than any head.
    mirror
        Similarity of the moving volume's mirror image by the stiff model; None if not looked at.
    """

    stiff: Rivals
    last: Rivals
    confidence: float | None
    network_deg: float | None
    refined: bool = True
    body: bool = False
    mirror: float | None = None


def doubts(seen: Evidence) -> tuple[str, ...]:
    """Say why a pose may be wrong, a sentence each; none for one that can be believed."""
    found = []
    confidence = seen.confidence or 0.0
    if seen.body:
        found.append(
            "What was registered is larger than a head: a mother, a body? Give masks, or let the "
            "brain be looked for."
        )
    if not seen.refined:
        if confidence <= PAIR.sure:
            found.append(f"The network is not sure (its confidence is {confidence:.2f}).")
        return tuple(found)
    alike, nearest = seen.stiff.best, min(seen.stiff, seen.last, key=lambda rivals: rivals.lead)
    if alike < DOUBTS.similarity:
        found.append(
            f"The volumes are not much alike at the pose (a similarity of {alike:.2f} by gain and "
            "offset alone)."
        )
    if nearest.lead < DOUBTS.lead:
        found.append(
            f"Another pose explains nearly as much, or more (a similarity of "
            f"{nearest.runner_up or 0:.2f}; that of the pose is {nearest.best:.2f})."
        )
    if seen.mirror is not None and Rivals(seen.mirror, alike).lead > DOUBTS.mirror:
        found.append(
            f"The mirror image of one is more alike (a similarity of {seen.mirror:.2f}, as it is "
            f"{alike:.2f}): are left and right exchanged in one of the headers?"
        )
    degrees = seen.network_deg or 0.0
    if confidence > PAIR.sure and degrees > DOUBTS.other_deg and seen.last.best < DOUBTS.beyond:
        found.append(f"The network, which is sure, has a pose that is turned by {degrees:.0f}°.")
    return tuple(found)
