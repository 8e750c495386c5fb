"""The table of confounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _ConfoundsInput(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="corrected series")
    mask = File(exists=True, mandatory=True, desc="brain")
    motion = File(exists=True, mandatory=True, desc="of EstimateMotion")
    residual = File(exists=True, mandatory=True, desc="motion of the corrected series")
    slices = File(exists=True, desc="of FollowSlices")
    coverage = File(exists=True, desc="of ResampleSeries; with slices")
    distortion = File(exists=True, desc="of SeekDistortion; only where there is a field")
    history = traits.List(traits.Float, desc="of ResampleSeries; with slices")
    repetition_time = traits.Either(None, traits.Float, usedefault=True, desc="s, if even")
    non_steady = traits.Int(0, usedefault=True, desc="frames at the start")
    brain_radius = traits.Float(mandatory=True, desc="mm")
    fd_radius = traits.Either(None, traits.Float, usedefault=True, desc="mm; None for the brain's")
    fd_threshold = traits.Float(0.5, usedefault=True, desc="mm")
    dvars_threshold = traits.Float(1.5, usedefault=True)


class _ConfoundsOutput(TraitedSpec):
    confounds = File(exists=True, desc="tab-separated, a line per frame")
    metadata = File(exists=True, desc="JSON that explains every column")
    fd_radius = traits.Float(desc="mm, as used")


class WriteConfounds(SimpleInterface):
    """Motion, its measures and signals of the corrected series, a line per frame."""

    input_spec = _ConfoundsInput
    output_spec = _ConfoundsOutput

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from unimo_bids.files.objects import write_object
        from unimo_bids.files.series import read_mask, read_series
        from unimo_bids.files.tables import write_table
        from unimo_bids.interfaces.results import read_distortion, read_motion, read_slices
        from unimo_bids.motion.correction import moving, seen
        from unimo_bids.qc.bending import bending, describe_bending, points_inside
        from unimo_bids.qc.columns import describe_columns
        from unimo_bids.qc.confounds import (
            ConfoundSettings,
            auto_fd_radius,
            confounds_table,
            steps_beside,
        )
        from unimo_bids.qc.dvars import series_signals
        from unimo_bids.qc.framewise import framewise_displacement
        from unimo_bids.qc.within_frames import SLICE_CONFOUNDS, covered_by_slices, slice_confounds

        inputs, here = self.inputs, Path(runtime.cwd)
        series, motion = read_series(inputs.in_file), read_motion(inputs.motion)
        residual = read_motion(inputs.residual)
        mask = read_mask(inputs.mask, series)
        bends, slices = read_distortion(inputs.distortion), read_slices(inputs.slices)
        shown = (
            seen(moving(motion.poses, bends), series.grid, mask > 0.5)
            if slices is None
            else covered_by_slices(inputs.coverage, mask)
        )
        signals = series_signals(series, mask, shown)
        radius = inputs.fd_radius or auto_fd_radius(inputs.brain_radius)
        settings = ConfoundSettings(radius, inputs.fd_threshold, inputs.dvars_threshold)
        remaining = framewise_displacement(residual.poses, residual.center, radius)
        remaining[steps_beside(motion.status == "lost")] = np.nan
        table = confounds_table(
            motion.poses,
            motion.covariance,
            motion.center,
            status=motion.status,
            similarity=motion.similarity,
            signals=signals,
            remaining=remaining,
            repetition_time=inputs.repetition_time,
            non_steady=inputs.non_steady,
            settings=settings,
        )
        described = describe_columns(table, settings)
        if slices is not None:
            within, history = (slices.within_max, slices.within_rms), np.array(inputs.history)
            table |= slice_confounds(*within, signals.coverage, history)
            described |= SLICE_CONFOUNDS
        if bends is not None:
            table |= bending(bends, motion.poses, points_inside(mask, series.affine))
            described |= describe_bending()
        path, metadata = here / "confounds.tsv", here / "confounds.json"
        write_table(path, table)
        write_object(metadata, described)
        self._results["confounds"], self._results["metadata"] = str(path), str(metadata)
        self._results["fd_radius"] = float(radius)
        return runtime
