"""From the work folder to the derivatives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _SaveInput(BaseInterfaceInputSpec):
    run = traits.Any(mandatory=True, desc="BoldRun")
    settings = traits.Any(mandatory=True, desc="Settings")
    bold = InputMultiObject(File(exists=True), mandatory=True, desc="corrected series, by echo")
    boldref = File(exists=True, mandatory=True)
    mask = File(exists=True, mandatory=True)
    brain = File(exists=True, mandatory=True, desc="soft mask")
    transforms = File(exists=True, mandatory=True)
    confounds = File(exists=True, mandatory=True)
    confounds_metadata = File(exists=True, mandatory=True)
    tsnr_before = File(exists=True, mandatory=True)
    tsnr_after = File(exists=True, mandatory=True)
    figures = InputMultiObject(File(exists=True), mandatory=True)
    parameters = traits.Dict(mandatory=True, desc="how the motion was estimated, for the sidecars")


class _SaveOutput(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True))


class SaveDerivatives(SimpleInterface):
    """Copy the results of a run to where BIDS wants them, each whole or not at all."""

    input_spec = _SaveInput
    output_spec = _SaveOutput
    _always_run = True  # someone may have removed what it wrote

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.bids.names import corrected_series, participant_folder, run_names, sidecar
        from unimo_bids.bids.sidecars import sidecars
        from unimo_bids.reports.reportlets import find_reportlets

        given = self.inputs
        run, settings = given.run, given.settings
        names = run_names(run.entities, run.echoes, settings.level)
        copies = {
            names.boldref: given.boldref,
            names.mask: given.mask,
            names.brain: given.brain,
            names.transforms: given.transforms,
            names.confounds: given.confounds,
            sidecar(names.confounds): given.confounds_metadata,
            names.tsnr_before: given.tsnr_before,
            names.tsnr_after: given.tsnr_after,
        }
        copies |= dict(zip(names.bold, given.bold, strict=False))  # none at level minimal
        figures = participant_folder(run.participant) / "figures"
        described = sidecars(run, names, settings, given.parameters)
        for path, source in copies.items():
            _copy(source, settings.out_dir / path)
        for path, content in described.items():
            _write(settings.out_dir / path, json.dumps(content, indent=2, ensure_ascii=False))
        # Of earlier calls, which may have had another level, other echoes or masks for each frame,
        # and whose motion may have been another.
        for former in corrected_series(settings.out_dir, run.entities):
            if former.relative_to(settings.out_dir) not in copies:
                for path in (former, sidecar(former)):
                    path.unlink(missing_ok=True)
        for former in find_reportlets(settings.out_dir / figures).get(run.name, {}).values():
            if former.name not in {Path(one).name for one in given.figures}:
                former.unlink()
        # the summary marks a run as complete: last
        for figure in sorted(given.figures, key=lambda path: path.endswith("summary_bold.json")):
            copies[figures / Path(figure).name] = figure
            _copy(figure, settings.out_dir / figures / Path(figure).name)
        self._results["out_files"] = [str(settings.out_dir / path) for path in copies]
        return runtime


def _write(path: Path, text: str) -> None:
    from unimo_bids.files.staging import atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _copy(source: str, path: Path) -> None:
    from unimo_bids.files.reopening import check_image
    from unimo_bids.files.staging import atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        shutil.copyfile(source, temporary)
        if path.name.endswith(".nii.gz"):
            check_image(temporary, path)
