"""The figures of a run's report, and its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

if TYPE_CHECKING:
    from unimo_bids.brain.mask import Candidate
    from unimo_bids.motion.estimate import MotionEstimate
    from unimo_bids.reports.record import BendingRecord, TrackRecord

_RUNNERS_UP = 4  # that are shown


class _DrawInput(BaseInterfaceInputSpec):
    entities = traits.Str(mandatory=True, desc="what the run is called")
    original = File(mandatory=True, desc="raw series, or what PrepareRun kept of it")
    corrected = File(exists=True, mandatory=True)
    boldref = File(exists=True, mandatory=True)
    mask = File(exists=True, mandatory=True)
    probability = File(exists=True, mandatory=True)
    motion_mask = File(exists=True, desc="what registration looked at, 3D or 4D")
    tsnr_before = File(exists=True, mandatory=True)
    tsnr_after = File(exists=True, mandatory=True)
    confounds = File(exists=True, mandatory=True)
    motion = File(exists=True, mandatory=True, desc="of the raw series")
    tracking = File(exists=True, desc="of TrackHead; only where it was refined")
    similarity = File(exists=True, mandatory=True, desc="JSON, before and after")
    slices = File(exists=True, desc="of FollowSlices; only where slices were followed")
    displacement = File(exists=True, desc="of SeekDistortion; only where it is undone")
    about_distortion = traits.Dict(usedefault=True, desc="of SeekDistortion")
    about_brightness = traits.Dict(usedefault=True, desc="of ResampleSeries")
    slice_warnings = traits.List(traits.Str, usedefault=True)
    time_warnings = traits.List(traits.Str, usedefault=True, desc="of ResampleSeries")
    fd_radius = traits.Float(mandatory=True, desc="mm")
    fd_threshold = traits.Float(mandatory=True, desc="mm")
    device_used = traits.Str(desc="where motion was estimated")
    facts = traits.Dict(traits.Str, traits.Str, desc="known beforehand")
    population = traits.Str(desc="fetal, infant or adult")
    population_reason = traits.Str()
    brain_method = traits.Str()
    about_brain = traits.Dict(usedefault=True, desc="as `PrepareRun` has it")
    reference_volume = File(exists=True, desc="in which the brain was looked for")
    known_warnings = traits.List(traits.Str, desc="known beforehand")
    series_warnings = traits.List(traits.Str)
    brain_warnings = traits.List(traits.Str)
    space_warnings = traits.List(traits.Str, usedefault=True)


class _DrawOutput(TraitedSpec):
    figures = OutputMultiObject(File(exists=True), desc="by the names that the report looks for")


class DrawRun(SimpleInterface):
    """Draw all figures of a run."""

    input_spec = _DrawInput
    output_spec = _DrawOutput

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from unimo_bids.files.tables import read_columns
        from unimo_bids.interfaces.results import read_motion, read_slices, value_or_none
        from unimo_bids.motion.quality import warnings_of
        from unimo_bids.pipeline.summary import run_numbers, still_moving
        from unimo_bids.qc.confounds import MOTION_NAMES, largest_move, steps_beside
        from unimo_bids.reports.drawing import draw_run, read_image
        from unimo_bids.reports.record import RunRecord

        inputs = self.inputs
        motion, columns = read_motion(inputs.motion), read_columns(inputs.confounds)
        before = columns["framewise_displacement"]
        lost = motion.status == "lost"
        before[steps_beside(lost)] = np.nan
        after = columns["framewise_displacement_corrected"]
        move = largest_move(motion.poses, motion.center, inputs.fd_radius, lost)
        mask, affine, _ = read_image(inputs.mask)
        brain = mask > 0
        before_after = (inputs.tsnr_before, inputs.tsnr_after)
        tsnr = [float(np.median(read_image(path)[0][brain])) for path in before_after]
        brain_ml = float(brain.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
        censored = columns["censor"] == 1
        uncorrected = columns["censor_uncorrected"] == 1
        numbers = run_numbers(motion.status, before, after, tsnr, censored, uncorrected)
        numbers |= {"brain_ml": brain_ml, "largest_move": None if move is None else move.mm}
        similarity = json.loads(Path(inputs.similarity).read_text())
        candidates, chosen = _candidates(inputs.about_brain)
        record = RunRecord(
            entities=inputs.entities,
            **{
                name: Path(getattr(inputs, name))
                for name in (
                    *("original", "corrected", "boldref", "mask", "probability"),
                    *("tsnr_before", "tsnr_after", "confounds"),
                )
            },
            poses=motion.poses,
            center=motion.center,
            parameters=np.stack([columns[name] for name in MOTION_NAMES], axis=1),
            deviations=np.stack([columns[f"{name}_sd"] for name in MOTION_NAMES], axis=1),
            fd_before=before,
            fd_after=after,
            similarity_before=np.array(similarity["before"], dtype=float),
            similarity_after=np.array(similarity["after"], dtype=float),
            status=motion.status.tolist(),
            uncorrected=uncorrected,
            fd_threshold=inputs.fd_threshold,
            reference=motion.reference,
            candidates=candidates,
            chosen=chosen,
            reference_volume=value_or_none(inputs.reference_volume),
            motion_mask=value_or_none(inputs.motion_mask),
            facts={**inputs.facts, **self._facts(motion), "Largest move": str(move or "n/a")},
            warnings=[
                *inputs.known_warnings,
                *inputs.series_warnings,
                *inputs.brain_warnings,
                *inputs.slice_warnings,
                *inputs.time_warnings,
                *inputs.space_warnings,
                *map(str, motion.findings),
                *warnings_of(motion.status.tolist()),
                *still_moving(after, inputs.fd_threshold),
            ],
            numbers=numbers,
            bending=_bending(inputs, columns) if isdefined(inputs.displacement) else None,
            slices=read_slices(inputs.slices),
            coverage=columns.get("slice_coverage"),
            track=_track(inputs.tracking, motion) if isdefined(inputs.tracking) else None,
        )
        figures = draw_run(record, Path(runtime.cwd))
        self._results["figures"] = [str(path) for path in figures]
        return runtime

    def _facts(self, motion: MotionEstimate) -> dict[str, str]:
        """What is known of the run once it is corrected."""
        inputs, reference = self.inputs, motion.reference
        about = inputs.about_brain
        place = (
            f" about {about['BrainCenter']} ({about['BrainCenterSource']})"
            if "BrainCenter" in about
            else ""
        )
        reason = f" ({inputs.population_reason})" if inputs.population_reason else ""
        bent = inputs.about_distortion
        return {
            "Population": f"{inputs.population}{reason}",
            "Brain": f"{inputs.brain_method}{place}, radius {motion.radius:.0f} mm",
            **_brightness(inputs.about_brightness),
            "Reference": f"frame {reference}" if reference >= 0 else "single-band reference",
            "FD radius": f"{inputs.fd_radius:.0f} mm",
            "Device": inputs.device_used,
            **({"Distortion": bent["finding"]} if bent else {}),
        }


def _bending(inputs: Any, confounds: Mapping[str, Any]) -> BendingRecord:
    from unimo_bids.reports.record import BendingRecord

    return BendingRecord(
        inputs.about_distortion["axis"],
        Path(inputs.displacement),
        inputs.about_distortion["less_left"],
        confounds["bending_mean"],
        confounds["bending_max"],
    )


def _track(path: str, motion: MotionEstimate) -> TrackRecord:
    import numpy as np

    from unimo_bids.interfaces.results import read_tracking
    from unimo_bids.qc.confounds import TRANSLATIONS_FIRST, parameter_deviations
    from unimo_bids.qc.framewise import motion_parameters, rms_between, surprise
    from unimo_bids.reports.record import TrackRecord

    tracking, center = read_tracking(path), motion.center
    frames = slice(len(tracking.poses) - len(motion.poses), None)  # a reference scanned apart
    apart = rms_between(tracking.poses[frames], motion.poses, center, motion.radius)
    predicted, covariance = tracking.predicted, tracking.covariance
    if predicted is None or covariance is None:
        return TrackRecord(apart)
    predicted, covariance = predicted[frames], covariance[frames]
    # one after the other, so that both turn the same way round
    both = np.stack([motion.poses, predicted], axis=1).reshape(-1, 4, 4)
    return TrackRecord(
        apart,
        motion_parameters(both, center)[1::2, TRANSLATIONS_FIRST],
        parameter_deviations(predicted, covariance, np.zeros(len(predicted), dtype=bool)),
        surprise(motion.poses, predicted, covariance, center),
    )


def _brightness(about: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    named = {"SpinHistory": "Spin history", "ReceiveField": "Receive field"}
    return {
        name: f"explains {100 * about[key]['ExplainedUnseen']:.1f} % of the variance in unseen"
        f" frames, {'removed' if about[key]['Removed'] else 'left'}"
        for key, name in named.items()
        if key in about
    }


def _candidates(about: Mapping[str, Any]) -> tuple[list[Candidate], bool]:
    """Places to show if the brain is in doubt or another likely; whether the first was chosen."""
    from unimo_bids.brain.advice import runners_up
    from unimo_bids.brain.mask import Candidate
    from unimo_bids.brain.thresholds import ADVICE

    found = [
        Candidate(tuple(one["Center"]), one["Volume"], one["Confidence"])
        for one in about.get("BrainCandidates", ())
    ]
    chosen = "BrainConfidence" in about
    others = runners_up(found, chosen)[:_RUNNERS_UP]
    if not others or not (about["BrainDoubts"] or others[0].confidence >= ADVICE.likely):
        return [], chosen
    return [*found[:chosen], *others], chosen
