"""Thresholds of the motion of a series, with their origins."""

from __future__ import annotations

from dataclasses import dataclass

from unimo_bids.origins import convention, derived, measured

_OWN = "the project's simulator, seeds 101 to 103"


@dataclass(frozen=True)
class Frames:
    """What is no image."""

    by_chance: float = convention(0.002, "of a frame that is exactly 0: noise reaches it")
    masked: float = convention(0.2, "of a frame that is 0: a mask, or padding")
    empty: float = convention(0.4, "of the head; where more is 0 there is no image")


@dataclass(frozen=True)
class Reference:
    """A frame fit to be the reference."""

    torn_spreads: float = convention(5.0, "robust deviations of how much slices disagree")
    torn_share: float = convention(0.25, "more than in the median frame, at least")
    torn_apart: float = measured(
        5.0,
        "times as far apart as halves of other frames; half-real series: torn by 1 mm and more 6 "
        "and more, whole 4 and less",
        shown=True,
    )
    torn_voxels: float = convention(0.2, "widest edges of a voxel apart, at least")
    fewest: int = derived(5, "frames; of fewer, none is usual")
    worth: float = measured(
        0.75,
        "by which another frame has to leave less of the median frame, 1 - r²; half-real series: "
        ".81 to 1 where the reference draws the others aside, .73 and less where nothing is gained",
        shown=True,
    )
    unsteady: float = convention(9.0, "times the usual variance: a place has half its weight")


@dataclass(frozen=True)
class Middle:
    """The middle of a head, beside what is around it."""

    depth: float = measured(
        0.5,
        "radii below the head's surface; .25, .4, .5, .6 in half-real heads with rims",
        shown=True,
    )
    beyond: float = convention(
        16.8, "mean chi squared of six parameters; 99 % of a single frame's are less"
    )
    unsteady: float = measured(
        3.0,
        "times the middle's median variance: a place is left out; 2, 3, 9, the same",
        shown=True,
    )
    fewest: int = measured(
        8,
        "frames; in two real series of five whose heads turn by 25° places are left out that only "
        "distortion bends, and a torn frame passes",
        shown=True,
    )
    left: float = convention(0.5, "of the contradiction, at most, without what is left out")
    held: float = measured(
        0.9,
        "of the whole's motion, that the middle has at least to be believed: .26 to .79 where a "
        "pattern in the middle stays with the scanner, .99 and more with rims, bands, wide masks",
        shown=True,
    )
    divided: float = measured(
        0.1,
        "of the contradiction: with so much and more between halves of the middle, it is not "
        "believed; .28 and .62 with waves that stay with the scanner, .03 with a rim, or chance",
        shown=True,
    )


@dataclass(frozen=True)
class Stripes:
    """Slices whose brightness is not their neighbours'."""

    rough: float = convention(0.05, "of a slice's brightness apart from its neighbours'")
    clear: float = convention(2.0, "times as rough as across another axis: slices have one")
    shared: float = convention(
        0.5, "of how rough, squared; where less is common to all frames, each has its own"
    )
    in_view: float = convention(0.05, "of what the fullest slice holds; gains of less are not told")
    worth: float = convention(0.25, "by which less has to be left, 1 - r², in the median frame")
    most: float = convention(10.0, "a gain, or what it is divided by: no slice comes from nothing")


@dataclass(frozen=True)
class Bands:
    """Slices whose brightness is not their neighbours', in all frames alike; beside `Stripes`."""

    bright: float = convention(0.1, "of the brightest, a place in the median frame: not noise")
    darkest: float = convention(0.02, "of the brightest; less counts as so much")
    dark: float = convention(0.25, "a gain; what a slice of less shows is noise")
    usual: float = convention(0.5, "a gain's logarithm, where places do not tell")
    off: float = convention(0.02, "voxels, by which a frame's slices are not where its pose says")
    rounds: int = convention(10, "at most; each finds a third to all of what is left")
    growing: int = measured(
        4,
        "rounds in which what is left may grow; bands of half-real heads did in three at most, "
        "what is none does later",
        shown=True,
    )
    slowest: float = convention(0.5, "of a step is left by the next: twice a step, at most")
    left: float = convention(0.1, "of how rough they were at first: found")


@dataclass(frozen=True)
class Ghosts:
    """What a frame shows of itself half of its field of view away."""

    usual: float = convention(0.1, "of the brightness, strength of a wave")
    promising: float = measured(
        0.01,
        "by which less is left coarsely, log, in frames that told only their own share: ghosts of "
        "12 % in seven half-real heads .9 % and more, without .95 % and less, so that the weakest "
        "is missed; six of the real and semi-real series 1.1 to 4 %",
        shown=True,
    )
    sure: float = measured(
        0.05,
        "the same at full resolution: with ghosts of 12 % 7 % and more; of these six series five 0 "
        "to 3 %, mosaic06 8 %",
        shown=True,
    )
    worth: float = measured(
        0.1,
        "by which less has to be left, 1 - r², in the median frame: with ghosts .16 and more, "
        "mosaic06 -.04",
        shown=True,
    )


@dataclass(frozen=True)
class Losses:
    """Parts of a head that have no signal in some frames."""

    window: float = measured(
        0.15, "radii of the head; .1 and .25 in a phantom and half-real series", shown=True
    )
    usual: float = convention(0.75, "quantile of the gain over the head: what is whole has it")
    none: float = convention(0.5, "of the usual gain: no signal, or hardly any")
    fewest: float = convention(0.04, "of the head without signal; what is less misleads little")
    dim: float = measured(
        0.6, "of the usual gain; what has less is not looked at; as the window", shown=True
    )
    whole: float = measured(0.85, "of it; what has more counts in full; the same", shown=True)
    seen: float = convention(0.3, "of the head that has to be left")
    explained: float = measured(
        0.95,
        "similarity of what is left: .955 and more in half-real series, .93 and less where three "
        "tissues of a phantom change in every frame",
        shown=True,
    )


@dataclass(frozen=True)
class Tissues:
    """Frames in which tissues are of another brightness."""

    worth: float = convention(0.25, "by which less has to be left, 1 - r², as of stripes")
    share: float = measured(
        0.005,
        "of a frame's variance, that they explain beside the image: noise and poses .1 mm off in a "
        "phantom .1 %, brighter or darker tissue 7 % and more",
    )
    fewest: int = convention(3, "frames of a kind, to make an image of")


@dataclass(frozen=True)
class Tracking:
    """Which pose a frame starts from."""

    doubtful: float = convention(0.9, "correlation: where frames agree on little, none is believed")
    gain: float = convention(2e-3, "correlation by which another start has to be better")
    spreads: float = measured(3.0, f"robust deviations of similarity below other frames; {_OWN}")
    least_below: float = measured(0.5, f"Fisher's z below them; {_OWN}")
    most_below: float = convention(0.8, "the same")
    unexplained: float = convention(0.8, "correlation: the contrast may have changed")
    unexplained_share: float = convention(0.25, "of the frames: not all of these are torn")
    tied: float = measured(
        0.75,
        "contrast-head phantoms, six references: tissues explain a frame by .8 and more at its "
        "pose, by .65 and less elsewhere",
        shown=True,
    )
    alike: float = convention(0.9, "correlation: no other frame would do much better")


@dataclass(frozen=True)
class Quality:
    """What a frame's status rests on."""

    never_failed: float = measured(
        0.91, "correlation of torn frames at their best pose, five real adult series", shown=True
    )
    spreads: float = measured(8.0, f"robust deviations of similarity below other frames; {_OWN}")
    least_below: float = measured(
        1.0, f"Fisher's z below them: noise and spin history differ between good frames; {_OWN}"
    )
    most_below: float = convention(1.5, "the same: where most frames fail, their spread is nothing")
    never_good: float = convention(0.3, "correlation of nothing that can be believed")
    hardly: float = measured(
        0.8,
        "median correlation that is told: of 150 series by strangers .69 where all frames were "
        "wrong, .86 and more where they were right",
        shown=True,
    )
    bridge: int = convention(4, "frames of a gap; in a longer one a head can do anything")
    part_of_step: float = measured(
        0.08, "of the step to the next frame, that is unknown of a frame's own time", shown=True
    )
    suspect: float = convention(0.98, "correlation worth a closer look")
    suspects: int = convention(3, "such frames at least")


@dataclass(frozen=True)
class Judge:
    """Whether poses are better than others."""

    clear: float = convention(2.0, "standard errors by which something else has to win")
    gain: float = measured(
        0.01,
        "of the agreement, own simulator: noise is read at other places in other poses, and poses "
        "off by .15 mm agree as well where contrasts differ",
        shown=True,
    )
    tied: float = measured(
        0.04,
        "of the agreement of evened frames, by which ties win over common images: where ties are "
        "farther off 1.1 to 1.2 % (contrast-brain) and 3.2 % (smooth tissues of the tests); where "
        "they are nearer 5.2 % (the tests' still field) and 11 % (contrast-head-s11)",
        shown=True,
    )


@dataclass(frozen=True)
class Groups:
    """Frames of one contrast, as a group."""

    alike: float = convention(0.6, "correlation of frames of one contrast, on average")
    fewest: int = derived(2, "frames of a group; one alone has no contrast in common with another")
    images: int = convention(6, "beside the mean, of the frames without a group")
    partners: int = convention(3, "groups whose tissues are looked at")
    looked_at: int = convention(4, "frames of a group, whose median counts")
    wider: float = measured(
        2.5,
        "times what parts of the head disagree by: contrast-head phantoms s11, s12 and a head of "
        "the same maps",
        shown=True,
    )
    beyond: float = derived(16.8, "99 % of chi squared in six parameters")
    unknown: float = convention(0.5, "mm of deviation of a group's place, that are told")


@dataclass(frozen=True)
class Kinds:
    """Frames of two kinds, told by their brightness."""

    brighter: float = measured(
        1.3,
        "times as bright as any of the other kind: half-real diffusion 1.6 and more, shared series "
        "1.1 and less but for dark or dropped frames and contrast-head phantoms",
        shown=True,
    )
    apart: float = convention(1.0, "times, in logarithms, what frames of a kind differ by")
    tied: float = measured(
        0.82,
        "similarity of one mean by classes of the other: half-real diffusion, right to 1.2 mm, .84 "
        "and more; phantoms of a few smooth parts, wrong by 1.3 and 7 mm, .81 and less",
        shown=True,
    )


@dataclass(frozen=True)
class Cycles:
    """Contrast of one period with motion."""

    longest: int = convention(16, "frames of a cycle")
    fewest: int = convention(4, "cycles")
    share: float = convention(0.8, "of the variance of contrast, less what chance would explain")


@dataclass(frozen=True)
class Distortion:
    """Whether a field bends the head on its way."""

    moved_mm: float = convention(
        1.0, "at the head's surface, of half of the frames; less bends none"
    )
    judges: int = measured(
        12,
        "frames whose heads are farthest apart, of 20 (semireal c0, c4, own typical): they tell "
        "axes by 4 standard errors, all by 3",
        shown=True,
    )
    looked_at: int = convention(8, "of these, at first look")
    promising: float = measured(
        0.01,
        "by which a first step leaves less at first look: none -.7 to .1 % (own typical, pushed "
        "adults and fetuses, womb), 100 Hz in an adult 1.2, in fetuses 1.5 and 4.5 %, on which it "
        "was set",
        shown=True,
    )
    worth: float = measured(
        0.01,
        "by which less is left in the end: what came out better 1.4 % and more, on which it was "
        "set; none does not get so far",
        shown=True,
    )
    along_slices: float = measured(
        0.03,
        "by which a first step along the slices' axis leaves less; own severe series whose field "
        "turns with the head, along j: 1.8 % along k, on which it was set",
        shown=True,
    )
    agreed: float = convention(2.0, "standard errors over frames")
    fewest: int = convention(4, "frames that judge")
    as_said: float = convention(
        1.25, "factor up to which a field map is as strong as it says; readouts err by 1.3 or more"
    )
    largest_factor: float = convention(3.0, "by which a map that is of the run may be wrong")


FRAMES = Frames()
REFERENCE = Reference()
MIDDLE = Middle()
STRIPES = Stripes()
BANDS = Bands()
GHOSTS = Ghosts()
LOSSES = Losses()
TISSUES = Tissues()
TRACKING = Tracking()
QUALITY = Quality()
JUDGE = Judge()
GROUPS = Groups()
KINDS = Kinds()
CYCLES = Cycles()
DISTORTION = Distortion()
