"""All that a run of `unimo-bids` depends on, in one value; kept as TOML beside the results."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from unimo_bids.errors import InputError
from unimo_bids.files.staging import atomic, machine_error
from unimo_bids.words import (
    AnalysisLevel,
    Deformation,
    Fusion,
    Ignored,
    OutputLevel,
    Population,
    RunBrainMethod,
    Slices,
    TrackerName,
)


@dataclass(frozen=True)
class Settings:
    """What to run on, and how. ``"auto"`` stays as given: what it came to is for the report.

    Attributes
    ----------
    bids_dir, out_dir
        The raw dataset and the folder of results, absolute.
    analysis_level
        ``participant`` or ``group``.
    participant_label, session_label, task_id, run_id
        Labels without their prefixes; empty for all.
    echo_idx
        The one echo to use; None for all.
    bids_filter_file
        JSON with PyBIDS filters for ``bold`` and ``sbref``.
    derivatives
        Folders of other programs' or an earlier call's results, by the names that sidecars use.
    bids_database_dir
        Where PyBIDS keeps its index.
    nprocs, omp_nthreads
        Processors for all, and for one step; None for all there are.
    mem_gb
        GB of memory for all; None for all there is.
    low_mem
        One step at a time.
    device, gpus
        ``auto``, ``cpu``, ``cuda`` or ``cuda:i``; how many GPUs may be busy at once.
    work_dir, clean_workdir, remove_workdir
        Folder for intermediate files; emptied before the run, removed after one without errors.
    level
        ``minimal`` leaves out the corrected series.
    dummy_scans
        Frames before the steady state; None to detect them.
    ignore
        Of what other programs use, what is not to be used.
    reference
        Frame whose pose is the identity, ``auto`` or ``sbref``.
    fd_threshold, dvars_threshold
        Above which a frame is an outlier: mm, and standardised DVARS.
    fd_radius
        Millimetres per radian in framewise displacement, or ``auto``.
    brain_extraction
        ``auto``, ``unimo`` (networks), ``epi`` (intensity and shape) or ``derivatives`` (given
        masks alone). Given masks win in any case.
    brain_center
        A place in the brain of every run, as `brain.place` has it: ``12,-30,44`` or
        ``62,86,28vox``; None where the dataset may say, else nobody.
    tracker
        Who follows the head and bridges what is lost: ``auto``, ``search`` or ``spaer``.
    fusion
        How the pose network brings together image and shape.
    refine
        Without it, poses are the tracker's, as they stand.
    slices
        Whether the head is followed through the slices of every frame: ``auto``, where that is
        better than one pose a frame; ``on``, wherever slice times are known; ``off``.
    slice_time_ref
        The moment of a frame that the corrected series shows, as a share of the way from the first
        slice's time to the last's; None leaves every place at its own time.
    deformation
        Whether distortion that bends the head as it moves is looked for: ``auto``, and undone where
        frames say so; ``epi``, undone wherever the phase-encode axis is known; ``none``.
    intensity_correction
        Without it, spin history is left in frames made from slices.
    population
        ``auto``, ``fetal``, ``infant`` or ``adult``.
    md_only_boilerplate
        The methods text as Markdown alone.
    output_spaces
        Standard spaces to write to as well, as `spaces.names` has them.
    template
        Templates of one's own to write to as well, ``FILE`` or ``FILE:MASK``.
    aggregate_session_reports
        The most sessions of a participant that one page shows.
    verbosity
        How many ``-v``.
    """

    bids_dir: Path
    out_dir: Path
    analysis_level: AnalysisLevel = "participant"
    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    task_id: tuple[str, ...] = ()
    run_id: tuple[str, ...] = ()
    echo_idx: int | None = None
    bids_filter_file: Path | None = None
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    nprocs: int | None = None
    omp_nthreads: int | None = None
    mem_gb: float | None = None
    low_mem: bool = False
    device: str = "auto"
    gpus: int | None = None
    work_dir: Path = field(default_factory=lambda: Path("work").absolute())
    clean_workdir: bool = False
    remove_workdir: bool = False
    level: OutputLevel = "full"
    dummy_scans: int | None = None
    ignore: tuple[Ignored, ...] = ()
    reference: int | Literal["auto", "sbref"] = "auto"
    fd_threshold: float = 0.5
    dvars_threshold: float = 1.5
    fd_radius: float | Literal["auto"] = "auto"
    brain_extraction: RunBrainMethod = "auto"
    brain_center: str | None = None
    tracker: TrackerName = "auto"
    fusion: Fusion = "information"
    refine: bool = True
    slices: Slices = "auto"
    slice_time_ref: float | None = None
    deformation: Deformation = "auto"
    intensity_correction: bool = True
    population: Population | Literal["auto"] = "auto"
    output_spaces: tuple[str, ...] = ()
    template: tuple[str, ...] = ()
    use_plugin: Path | None = None
    stop_on_first_crash: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    md_only_boilerplate: bool = False
    write_graph: bool = False
    aggregate_session_reports: int = 4
    resource_monitor: bool = False
    dry_run: bool = False
    verbosity: int = 0
    debug: bool = False

    def write(self, path: str | Path) -> None:
        """Write as TOML; what is None is left out, as TOML has no word for it."""
        import tomli_w

        values = {one.name: _plain(getattr(self, one.name)) for one in fields(self)}
        text = tomli_w.dumps({name: one for name, one in values.items() if one is not None})
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def read_values(path: str | Path) -> dict[str, Any]:
    """Read a TOML file of some settings, as it says them; names that are none are refused."""
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", "check the path") from error
    except OSError as error:
        raise machine_error(path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        finding = f"it is not valid TOML ({error})"
        raise InputError(path, finding, "correct it or write it anew") from error
    known = [one.name for one in fields(Settings)]
    unknown = [name for name in values if name not in known]
    if unknown:
        finding = f"unknown setting {', '.join(map(repr, unknown))}"
        raise InputError(path, finding, f"known are {', '.join(known)}")
    return values


def _plain(value: Any) -> Any:
    """What TOML can hold."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value
