"""The figure of one file that was corrected."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unimo_bids.files.staging import atomic
from unimo_bids.pipeline.correct import Corrected
from unimo_bids.pipeline.summary import in_words
from unimo_bids.qc.confounds import ROTATIONS_FIRST
from unimo_bids.reports.figures.correction import Correction, write_summary


def draw_correction(path: Path, done: Corrected) -> None:
    """Draw what `unimo-correct` has done."""
    series, columns, comparison = done.series, done.columns, done.comparison
    before, after = comparison.moments
    result = Correction(
        parameters=np.stack([columns[name] for name in ROTATIONS_FIRST], axis=1),
        deviations=np.stack([columns[f"{name}_sd"] for name in ROTATIONS_FIRST], axis=1),
        displacement=columns["framewise_displacement"],
        status=columns["status"].tolist(),
        correlation=comparison.similarity,
        mean=(before.mean, after.mean),
        std=(before.std(comparison.detrend), after.std(comparison.detrend)),
        tsnr=comparison.tsnr(),
        mask=done.estimate.mask,
        affine=series.affine,
        reference=int(done.estimate.reference),
    )
    size = " × ".join(str(n) for n in series.shape[:3])
    tr = "" if series.repetition_time is None else f", TR {series.repetition_time:g} s"
    phrases = [f"{series.shape[3]} frames of {size}{tr}", *in_words(done.summary)]
    with atomic(path) as temporary:
        write_summary(temporary, series.path.name, "   ·   ".join(phrases), result)
