"""Thresholds of the registration of images, with their origins."""

from __future__ import annotations

from dataclasses import dataclass

from unimo_bids.origins import convention, derived, measured


@dataclass(frozen=True)
class Resolution:
    """Voxels that are large beside the head, so that blur mixes it with what is around."""

    large: float = measured(
        0.125,
        "radii of the head, a voxel's widest edge; half-real fetal heads in slices of 3 to 9 mm "
        "(stacks 30 and 38, docs/notes/series.md)",
        shown=True,
    )
    blur: float = measured(0.5, "widest edges of a voxel; the same, stacks 15 and 30", shown=True)
    own: float = measured(
        0.5, "of what a place shows; with less it does not count; the same", shown=True
    )


@dataclass(frozen=True)
class Pair:
    """Two volumes alone: which of several poses is taken."""

    sure: float = convention(0.8, "the network's confidence from which nothing is searched for")
    explained: float = convention(0.9, "correlation at the coarse level that a sure pose has")
    tissues: float = convention(
        0.5, "of what intensity leaves unexplained: what tissues leave where contrasts differ"
    )
    agree: float = convention(0.75, "of one mask inside the other")
    distinct: float = convention(0.5, "radii that another pose moves the surface: no neighbour")
    shared: float = measured(
        0.3,
        "of how far evened volumes and those as they are differ in pose, as a standard deviation; "
        "rendered pairs (`benchmarks pairs --rendered`)",
        shown=True,
    )
    wider: float = measured(
        1.8,
        "times the jackknife's deviations, for 95 in 100 to hold; rendered pairs (`benchmarks "
        "pairs --rendered`)",
        shown=True,
    )
    interpolation: float = derived(0.004, "voxels that cubic splines err by, however much agrees")


@dataclass(frozen=True)
class Doubts:
    """Whether the pose of two volumes is to be believed."""

    similarity: float = measured(
        0.5,
        "by the stiff model, 39 real pairs: right ones have .53 and more, wrong ones .38 and less "
        "but one; two fetuses up to .51",
        shown=True,
    )
    lead: float = measured(
        0.15, "of the runner-up, Fisher's z; the same pairs: that wrong one has .08", shown=True
    )
    mirror: float = measured(
        0.3,
        "lead of the mirror image, Fisher's z: .13 and less in 42 real pairs, -1.4 and less in "
        "eleven heads moved, 1.4 and more in those mirrored",
        shown=True,
    )
    other_deg: float = convention(25.0, "degrees from a sure network's pose")
    beyond: float = convention(0.9, "similarity that a sure network does not put in doubt")


@dataclass(frozen=True)
class Contrast:
    """Whether the contrast changes over a series, and by how many images."""

    share: float = convention(0.01, "of the variance in the first image beyond gain and field")
    of_rest: float = convention(
        0.67,
        "of what gain and field leave, in three images; distortion and wrong poses leave a "
        "third there",
    )
    shared_by: float = convention(3.0, "frames at least that an image is made of")
    leading: float = convention(0.003, "of the variance, for an image that is not noise")
    above_rest: float = convention(5.0, "times the rest, which is noise and residual motion")
    fewest: int = derived(7, "frames; of fewer, a torn one makes up too much")
    leverage: float = convention(
        0.7, "of a frame that images may owe to it alone: one of its own explains it at any pose"
    )


RESOLUTION = Resolution()
PAIR = Pair()
DOUBTS = Doubts()
CONTRAST = Contrast()
