"""What is known of a corrected run when its figures are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from unimo_bids.brain.mask import Candidate
    from unimo_bids.pipeline.rebuilt import SliceResult

Array = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class BendingRecord:
    """Distortion that bent the head as it moved.

    Attributes
    ----------
    axis
        Phase-encode axis, ``i``, ``j`` or ``k``.
    displacement
        Map on the run's grid, mm along that axis.
    less
        Share by which less was left with a field, by axis, in frames that had no part in it.
    mean, largest
        ``(T,)`` mm, over the brain, beyond rigid motion.
    """

    axis: str
    displacement: Path
    less: Mapping[str, float]
    mean: Array
    largest: Array


@dataclass(frozen=True, eq=False)
class TrackRecord:
    """How the head was tracked before frames were refined.

    Attributes
    ----------
    apart
        ``(T,)`` mm, of the head from where it was tracked to its refined pose.
    parameters, deviations
        ``(T, 6)`` as of `RunRecord`, of what was predicted from the series as a whole; None where
        nothing was.
    surprise
        ``(T,)`` of refined poses, in the prediction's standard deviations; None likewise.
    """

    apart: Array
    parameters: Array | None = None
    deviations: Array | None = None
    surprise: Array | None = None


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A run, before and after correction.

    Attributes
    ----------
    entities
        What the run is called, ``sub-01_ses-1_task-rest_run-1``; all files begin with it.
    original, corrected
        4D series on one grid.
    boldref, mask, probability
        Template, its mask and soft mask, on the same grid.
    motion_mask
        Of another program, 3D or 4D, on the same grid; None where the brain was found here.
    confounds
        Table of confounds, columns as fMRIPrep names them.
    poses
        ``(T, 4, 4)`` RAS mm, reference → volume.
    center
        ``(3,)`` mm, the middle of the brain in reference space.
    parameters, deviations
        ``(T, 6)`` translation (mm), rotation (rad), and their standard deviations.
    fd_before, fd_after
        ``(T,)`` mm, framewise displacement in the series and what is left of it once corrected.
    similarity_before, similarity_after
        ``(T,)`` correlation with the template, inside the mask.
    status
        ``(T,)`` of ok, searched, bridged, lost.
    uncorrected
        ``(T,)`` whether a frame has what correction could not undo.
    fd_threshold
        Above this many mm `censor` marks a frame.
    reference_volume
        In which the brain was looked for; same grid. None where there are no candidates.
    candidates
        Places that may be the brain, to be shown; none where there is no choice.
    slices, coverage
        Motion within frames, and ``(T,)`` share of the brain that slices came near to; None where
        it was not followed.
    bending
        What was undone of distortion; None where nothing was.
    track
        How the head was tracked; None where the motion was given, or tracking is all there is.
    facts
        Label → text, for the table that opens the run's section.
    numbers
        For the table of all runs; see `group.COLUMNS`. None where there is none.
    """

    entities: str
    original: Path
    corrected: Path
    boldref: Path
    mask: Path
    probability: Path
    tsnr_before: Path
    tsnr_after: Path
    confounds: Path
    poses: Array
    center: Array
    parameters: Array
    deviations: Array
    fd_before: Array
    fd_after: Array
    similarity_before: Array
    similarity_after: Array
    status: Sequence[str]
    uncorrected: npt.NDArray[np.bool_]
    fd_threshold: float
    reference: int
    motion_mask: str | Path | None = None
    reference_volume: str | Path | None = None
    candidates: Sequence[Candidate] = ()
    chosen: bool = False
    slices: SliceResult | None = None
    coverage: Array | None = None
    bending: BendingRecord | None = None
    track: TrackRecord | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    numbers: Mapping[str, float | int | None] = field(default_factory=dict)
