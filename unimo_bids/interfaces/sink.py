"""From the work folder to the derivatives."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

if TYPE_CHECKING:
    from unimo_bids.bids.names import RunNames, SpaceNames
    from unimo_bids.spaces.names import Space


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
    slices = File(exists=True, desc="table of slices; only where they were followed")
    slices_metadata = File(exists=True)
    about_time = traits.Dict(usedefault=True, desc="of ResampleSeries: of interpolation in time")
    about_brightness = traits.Dict(usedefault=True, desc="of ResampleSeries")
    coverage = File(exists=True)
    distortion = File(exists=True, desc="field; only where it is undone")
    displacement = File(exists=True, desc="its map")
    about_distortion = traits.Dict(usedefault=True, desc="as SeekDistortion has it")
    space_files = traits.List(File(exists=True), usedefault=True, desc="as CarryToSpaces has them")
    space_figures = traits.List(File(exists=True), usedefault=True)
    about_spaces = traits.Dict(usedefault=True, desc="by space: how the run got there")
    parameters = traits.Dict(mandatory=True, desc="how the motion was estimated, for the sidecars")
    about_motion = traits.Dict(mandatory=True, desc="what the poses are relative to, and decisions")
    about_brain = traits.Dict(mandatory=True, desc="how the brain was found, for the sidecars")


_NOT_ALWAYS = {"slices", "slices_metadata", "coverage", "distortion", "displacement"}


class _SaveOutput(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True))


class SaveDerivatives(SimpleInterface):
    """Copy the results of a run to where BIDS wants them, each whole or not at all."""

    input_spec = _SaveInput
    output_spec = _SaveOutput

    @property
    def always_run(self) -> bool:
        """Whether any file is missing or changed since it was written."""
        given = {name for name, value in self.inputs.get().items() if isdefined(value)}
        if not set(self.inputs.get()) <= given | _NOT_ALWAYS:
            return True
        copies, texts = self._contents()
        return (
            not all(_is_copy(source, path) for path, source in copies.items())
            or not all(_holds(path, text) for path, text in texts.items())
            or bool(self._outdated(copies))
        )

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.files.staging import write_text

        copies, texts = self._contents()
        figures = [path for path in copies if path.parent.name == "figures"]
        for path, source in copies.items():
            if path not in figures:
                _copy(source, path)
        for path, text in texts.items():
            write_text(path, text)
        for path in self._outdated(copies):
            path.unlink()
        for path in figures:
            _copy(copies[path], path)
        self._results["out_files"] = [str(path) for path in copies]
        return runtime

    def _contents(self) -> tuple[dict[Path, str], dict[Path, str]]:
        """Files to copy, by destination and in order, and texts to write."""
        from unimo_bids.bids.names import run_names
        from unimo_bids.files.objects import as_text

        run, settings = self.inputs.run, self.inputs.settings
        names, out = run_names(run.entities, run.echoes, settings.level), settings.out_dir
        copies = {out / path: source for path, source in self._copies(names).items()}
        texts = {out / path: as_text(content) for path, content in self._described(names).items()}
        return copies, texts

    def _copies(self, names: RunNames) -> dict[Path, str]:
        """Files to copy, by destination within the output folder, the summary last."""
        from unimo_bids.bids.names import participant_folder, sidecar

        inputs = self.inputs
        always = (
            "boldref",
            "mask",
            "brain",
            "transforms",
            "confounds",
            "tsnr_before",
            "tsnr_after",
        )
        copies = {getattr(names, name): getattr(inputs, name) for name in always}
        copies[sidecar(names.confounds)] = inputs.confounds_metadata
        if isdefined(inputs.slices):
            copies[names.slices] = inputs.slices
            copies[sidecar(names.slices)] = inputs.slices_metadata
            copies[names.coverage] = inputs.coverage
        if isdefined(inputs.distortion):
            copies[names.displacement] = inputs.displacement
        copies |= dict(zip(names.bold, inputs.bold, strict=False))  # none at level minimal
        in_spaces = [path for _, one in self._in_spaces() for path in one.all]
        copies |= dict(zip(in_spaces, inputs.space_files, strict=True))
        figures = participant_folder(inputs.run.participant) / "figures"
        # the summary marks a run as complete
        drawn = [*inputs.figures, *inputs.space_figures]
        for figure in sorted(drawn, key=lambda path: path.endswith("summary_bold.json")):
            copies[figures / Path(figure).name] = figure
        return copies

    def _described(self, names: RunNames) -> dict[Path, dict[str, Any]]:
        """Contents of the sidecars, by path within the output folder."""
        from unimo_bids.bids import sidecars
        from unimo_bids.bids.anatomy import find_anatomy
        from unimo_bids.bids.names import sidecar
        from unimo_bids.files.objects import read_object

        inputs = self.inputs
        run, settings, parameters = inputs.run, inputs.settings, inputs.parameters
        described = sidecars.sidecars(
            run, names, settings, parameters, self._about_motion(), inputs.about_brain
        )
        if isdefined(inputs.distortion):
            described |= sidecars.distortion_sidecars(
                run, names, settings, read_object(Path(inputs.distortion)), inputs.about_distortion
            )
        if isdefined(inputs.slices):
            described |= sidecars.slice_sidecars(run, names, settings)
            for path in names.bold:
                described[sidecar(path)] |= inputs.about_brightness
        in_spaces = self._in_spaces()
        for space, one in in_spaces:
            about = inputs.about_spaces[str(space)]
            way = find_anatomy(run.entities, settings.derivatives) if "Through" in about else None
            transform = way.transforms.get(space.target) if way else None
            described |= sidecars.space_sidecars(
                run, names, one, settings, parameters, about, transform
            )
        for path in (*names.bold, *(path for _, one in in_spaces for path in one.bold)):
            described[sidecar(path)] |= inputs.about_time
        return described

    def _about_motion(self) -> dict[str, Any]:
        """Reference of the poses, and whether a distortion field goes with them."""
        about = dict(self.inputs.about_distortion)
        return {**self.inputs.about_motion, **({"Distortion": about} if about else {})}

    def _in_spaces(self) -> list[tuple[Space, SpaceNames]]:
        """Names of what is written in standard spaces."""
        from unimo_bids.bids.names import space_names
        from unimo_bids.spaces.names import output_spaces

        run, settings, about = self.inputs.run, self.inputs.settings, self.inputs.about_spaces
        of_run = (run.echoes, settings.level)
        return [
            (space, space_names(run.entities, space, *of_run, about[str(space)].get("Through")))
            for space in output_spaces(settings.output_spaces, settings.template)
        ]

    def _outdated(self, copies: dict[Path, str]) -> list[Path]:
        """Files of earlier calls that are no longer made.

        These may have had another level, other echoes or masks for each frame, and their motion may
        have been another.
        """
        from unimo_bids.bids.names import (
            corrected_series,
            files_in_spaces,
            participant_folder,
            run_names,
            sidecar,
        )
        from unimo_bids.reports.reportlets import find_reportlets

        run, out = self.inputs.run, self.inputs.settings.out_dir
        series = [path for path in corrected_series(out, run.entities) if path not in copies]
        kept = {out / path for _, one in self._in_spaces() for path in one.all}
        kept |= {sidecar(path) for path in kept}
        figures = find_reportlets(out / participant_folder(run.participant) / "figures")
        names = run_names(run.entities)
        not_made = [] if isdefined(self.inputs.slices) else [names.slices, names.coverage]
        if not isdefined(self.inputs.distortion):
            not_made += [names.distortion, names.displacement]
        not_made = [out / one for path in not_made for one in (path, sidecar(path))]
        return [
            *(path for path in dict.fromkeys(not_made) if path.exists()),
            *series,
            *(path for path in map(sidecar, series) if path.exists()),
            *(path for path in files_in_spaces(out, run.entities) if path not in kept),
            *(path for path in figures.get(run.name, {}).values() if path not in copies),
        ]


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _copy(source: str, path: Path) -> None:
    """Copy a file with its time, by which the copy is recognised; images are checked first."""
    from unimo_bids.files.reopening import check_image
    from unimo_bids.files.staging import atomic

    if _is_copy(source, path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        shutil.copyfile(source, temporary)
        if path.name.endswith(".nii.gz"):
            check_image(temporary, path)
        known = Path(source).stat()
        os.utime(temporary, ns=(known.st_atime_ns, known.st_mtime_ns))


def _is_copy(source: str, path: Path) -> bool:
    """Whether a file is the copy made of another: of the same size and time."""
    try:
        there, known = path.stat(), Path(source).stat()
    except OSError:
        return False
    return (there.st_size, there.st_mtime_ns) == (known.st_size, known.st_mtime_ns)
