"""Thresholds of standard spaces, with their origins."""

from __future__ import annotations

from dataclasses import dataclass

from unimo_bids.origins import convention, derived, measured


@dataclass(frozen=True)
class Affine:
    """How a template is laid onto a head."""

    outline: float = measured(
        1.0,
        "nats, weight of the masks (feedsmoved, rtcloud): 0 lets them drift apart by 2 % of Dice, "
        "4 costs .03 of .56 nats",
        shown=True,
    )
    stretch: float = derived(
        0.08, "along an axis: adult brains differ by 5 to 7 %, fetal ones by a little more"
    )
    prior: float = convention(0.002, "nats for such a stretch: decides what the images leave open")


@dataclass(frozen=True)
class Doubts:
    """When an affine is doubted."""

    distinct: float = convention(0.5, "radii that another pose moves the surface: no neighbour")
    lead: float = convention(0.02, "nats ahead of the next that is clearly another")
    overlap: float = convention(0.85, "Dice of the masks, where both are seen")
    stretched: float = derived(1.35, "of one axis over another: brains of any two ages less")


@dataclass(frozen=True)
class Bending:
    """Whether a deformation is taken, and how stiff it is."""

    stiffness: float = measured(
        0.03,
        "per mm²; two synthetic adults, three contrasts: their landmarks come closest; with .015 "
        "images agree more and landmarks less",
        shown=True,
    )
    gain: float = measured(
        0.025,
        "of squared correlation in blocks not fitted: one head in two contrasts .018 and less, "
        "different people .022 to .09",
        shown=True,
    )
    sure: float = convention(2.0, "standard errors over blocks")
    squeezed: float = convention(0.5, "of a volume, at least")
    stretched: float = convention(2.0, "the same, at most")


AFFINE = Affine()
DOUBTS = Doubts()
BENDING = Bending()
