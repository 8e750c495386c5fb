"""Reportlets: the files a report is made of, what they are called and what they show."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from unimo_bids.bids.names import ENTITIES, labels
from unimo_bids.errors import InputError

_NAME = re.compile(r"(?P<entities>sub-.+)_desc-(?P<what>[a-z]+)_bold\.(?P<kind>svg|webp|json)")


@dataclass(frozen=True)
class Section:
    """A figure of a run: its label in file names, its title and explanation."""

    what: str
    title: str
    caption: str


SECTIONS = (
    Section(
        "brain",
        "Brain mask",
        "Template of the aligned frames. The outline of the mask (orange) should follow the edge"
        " of the brain; the soft mask rises from 10 to 90 per cent between the blue lines."
        " Left is left.",
    ),
    Section(
        "candidates",
        "Places that may be the brain",
        "Three cuts through each place in the frame where the brain was looked for, of 160 mm; the"
        " circle is a ball of what is outlined there (orange: the chosen place). If another is the"
        " brain that is meant, run again with the option given for it.",
    ),
    Section(
        "masks",
        "Masks of single frames",
        "The masks of the frames, given or found; some frames, evenly spread, each cut through the"
        " middle of its mask. The outline (orange) should stay on the brain wherever"
        " it goes. Below, the volume of every mask (dots: the frames above): a brain keeps its"
        " volume, so look at a mask where the line jumps.",
    ),
    Section(
        "movie",
        "Before and after",
        "Three planes through the middle of the brain, in one intensity window. Once corrected,"
        " the brain stands still; what still moves around it are surroundings that move otherwise.",
    ),
    Section(
        "spaces",
        "Standard spaces",
        "The run as it was carried there, and the template, in turn; along the head's axes the run"
        " alone. The outlines are those of the template's brain (orange) and of the run's (blue):"
        " they should agree, and so should ventricles and midline.",
    ),
    Section(
        "motion",
        "Motion",
        "Position of the brain's centre and its rotation about it, relative to the reference frame"
        " (dotted), with bands of two standard deviations. Frames with what correction could not"
        " undo are shaded (censor_uncorrected)."
        " What is left after correction is measured by registering the corrected series once more.",
    ),
    Section(
        "tracking",
        "Tracking",
        "Before frames are registered finely, the head is tracked through the series; here, how far"
        " its refined pose is from there: a millimetre or so. Where SpaER tracked it, lines are the"
        " refined poses, and the bands are where it expected the head, with a probability of 95 per"
        " cent, from what a network saw in all frames together. Surprise is the distance of the two"
        " in standard deviations: 19 of 20 frames should stay below the dashed line. Frames"
        " without a pose of their own (bridged, lost) are shaded.",
    ),
    Section(
        "within",
        "Motion within frames",
        "Where the brain's centre was in every slice, in the order in which they were acquired; how"
        " far slices of a frame are apart; and how much of the brain they came near to. Below, the"
        " frame that moved most, cut across its slices: its teeth should be gone in what was made"
        " from the slices where they were.",
    ),
    Section(
        "bending",
        "Distortion that bends the head",
        "How far along the phase-encode axis signal of the brain is from where it belongs, by the"
        " field that stays in the scanner while the head moves through it (what no motion shows is"
        " left out). Bars: how much less a first step towards a field along each axis of the grid"
        " leaves in frames that had no part in it. That along the phase-encode axis is filled: no"
        " other may be clearly ahead, and only the axis of the slices may be level with it. The map"
        " is of the field in the end; what that leaves is said under Distortion. A single bar is"
        " that of a whole field: a measured one, or one that was asked for."
        " Below, how far each frame was bent, beyond any rigid motion; all frames of the corrected"
        " series have the geometry of the reference.",
    ),
    Section(
        "trajectory",
        "Trajectory",
        "The way of the brain's centre through space, coloured by time, with its shadows on the"
        " walls; and how far the head was turned away from the reference.",
    ),
    Section(
        "tsnr",
        "Temporal signal-to-noise ratio",
        "Mean over standard deviation in time, inside the mask, of the frames in steady state that"
        " are neither bridged nor lost. Before and after share one scale; in the difference, orange"
        " means better after correction.",
    ),
    Section(
        "carpet",
        "Carpet",
        "Each row is a voxel of the brain, from its edge (top) to its core (bottom), in per cent of"
        " its median. Motion makes vertical stripes, strongest at the edge; one scale for both.",
    ),
    Section(
        "slices",
        "Slices in time",
        "Mean intensity of each slice of the brain, in per cent of its median over time. Blue cells"
        " are signal lost in a slice, orange ones signal gained; whole columns are whole frames.",
    ),
    Section(
        "similarity",
        "Similarity to the reference",
        "Correlation of each frame with the template, inside the mask. Frames that stay low after"
        " correction are damaged, not merely displaced.",
    ),
    Section(
        "confounds",
        "Confound correlation",
        "How much the confounds say the same (orange: positive, blue: negative correlation). Strong"
        " links of motion with DVARS or the global signal are what a model should account for.",
    ),
)


def reportlet(figures_dir: Path, entities: str, what: str, kind: str) -> Path:
    """Name a reportlet; refuse a name that would leave the folder."""
    name = f"{entities}_desc-{what}_bold.{kind}"
    if Path(name).name != name or not _NAME.fullmatch(name):
        raise InputError(
            entities, "this is not the name of a run", "rename its files as BIDS has it"
        )
    return figures_dir / name


def find_reportlets(figures_dir: Path) -> dict[str, dict[str, Path]]:
    """Find the figures of all runs, in order: files by ``what.kind`` for each run."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(figures_dir.glob("sub-*")):
        if match := _NAME.fullmatch(path.name):
            key = f"{match['what']}.{match['kind']}"
            found.setdefault(match["entities"], {})[key] = path
    return {entities: found[entities] for entities in sorted(found, key=run_order)}


def run_order(entities: str) -> list[tuple[tuple[int, str], ...]]:
    """Sort key of runs: by session, task, … run, chunk; run 10 comes after run 9."""
    given = labels(entities)
    texts = [given.get(key, "") for key in ENTITIES] + [entities]
    return [
        tuple(
            (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
        )
        for text in texts
    ]


def session_page(entities: str) -> str | None:
    """Name of the page that a run's session has if sessions have pages; None without a session.

    >>> session_page("sub-01_ses-a_task-rest")
    'sub-01_ses-a.html'
    """
    given = labels(entities)
    return f"sub-{anchor(given['sub'])}_ses-{anchor(given['ses'])}.html" if "ses" in given else None


def anchor(entities: str) -> str:
    """Anchor of a run on its page: its name, safe in an address."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", entities)
