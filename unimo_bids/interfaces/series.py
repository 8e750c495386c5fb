"""The raw series: is it usable, and how does it look without motion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from unimo_bids.interfaces.results import DEVICE
from unimo_bids.words import Interpolation


class _ValidateInput(BaseInterfaceInputSpec):
    # Raw files need not exist when the workflow is made: one that is missing fails its run alone.
    in_files = InputMultiObject(File(), mandatory=True, desc="raw series, by echo")
    dummy_scans = traits.Either(None, traits.Int, usedefault=True, desc="frames to leave out")


class _ValidateOutput(TraitedSpec):
    non_steady = traits.Int(desc="frames at the start that are not in steady state")
    warnings = traits.List(traits.Str, desc="what was found and done, a sentence each")


class ValidateSeries(SimpleInterface):
    """Refuse what cannot be corrected, say what had to be repaired."""

    input_spec = _ValidateInput
    output_spec = _ValidateOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.errors import InputError
        from unimo_bids.files.series import read_series
        from unimo_bids.qc.steady_state import count_non_steady

        first, *others = self.inputs.in_files
        series = read_series(first)
        warnings = list(series.warnings)
        for path in others:
            echo = read_series(path)
            if echo.shape != series.shape:
                finding = f"this echo is {echo.shape}, the first one {series.shape}"
                raise InputError(path, finding, "convert the run again, or use --echo-idx")
            warnings += [one for one in echo.warnings if one not in warnings]
        given, frames = self.inputs.dummy_scans, series.shape[3]
        if given is not None and given >= frames:
            finding = f"--dummy-scans {given} leaves none of its {frames} frames"
            raise InputError(first, finding, "give fewer, or let them be detected")
        self._results["non_steady"] = count_non_steady(series) if given is None else given
        self._results["warnings"] = warnings
        return runtime


class _ResampleInput(BaseInterfaceInputSpec):
    in_files = InputMultiObject(File(), mandatory=True, desc="raw series, by echo")
    motion = File(exists=True, mandatory=True, desc="estimate of EstimateMotion")
    non_steady = traits.Int(0, usedefault=True, desc="frames at the start, not in tSNR")
    repetition_time = traits.Either(None, traits.Float, usedefault=True, desc="s, for the header")
    interpolation = traits.Enum(*get_args(Interpolation), usedefault=True)
    device = DEVICE
    use_gpu = traits.Bool(False, usedefault=True, desc="takes a GPU slot")


class _ResampleOutput(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="corrected series, by echo")
    first = File(exists=True, desc="corrected series of the first echo")
    tsnr_before = File(exists=True, desc="of the first echo")
    tsnr_after = File(exists=True, desc="of the first echo")
    similarity = File(exists=True, desc="JSON: before and after, of each frame of the first echo")


class ResampleSeries(SimpleInterface):
    """Undo the motion of all echoes, each resampled once from its raw frames."""

    input_spec = _ResampleInput
    output_spec = _ResampleOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.devices import torch_device
        from unimo_bids.files.series import read_series, timed
        from unimo_bids.files.writing import write_volume
        from unimo_bids.interfaces.results import read_motion
        from unimo_bids.motion.correction import write_corrected

        here = Path(runtime.cwd)
        motion = read_motion(self.inputs.motion)
        corrected = []
        for number, path in enumerate(self.inputs.in_files):
            series = timed(read_series(path), self.inputs.repetition_time)
            corrected.append(here / f"corrected-{number}.nii.gz")
            comparison = write_corrected(
                corrected[-1],
                series,
                motion.poses,
                template=motion.template,
                mask=motion.mask,
                status=motion.status,
                non_steady=self.inputs.non_steady,
                interpolation=self.inputs.interpolation,
                device=torch_device(self.inputs.device),
            )
            if number == 0:
                maps = dict(zip(("tsnr_before", "tsnr_after"), comparison.tsnr(), strict=True))
                for name, volume in maps.items():
                    self._results[name] = str(here / f"{name}.nii.gz")
                    write_volume(self._results[name], volume, series)
                similarity = here / "similarity.json"
                before, after = (one.tolist() for one in comparison.similarity)
                similarity.write_text(json.dumps({"before": before, "after": after}))
                self._results["similarity"] = str(similarity)
        self._results["out_files"] = [str(path) for path in corrected]
        self._results["first"] = str(corrected[0])
        return runtime
