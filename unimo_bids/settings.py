"""All that a run of `unimo-bids` depends on, in one value; kept as TOML beside the results."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from unimo_bids.errors import InputError
from unimo_bids.files.staging import machine_error, write_text
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
    """What to run on, and how: each as the option of its name says (`cli/options.py`).

    Paths are absolute, labels stand without their prefixes. What was not given is None, and an
    empty choice means all; ``"auto"`` stays as given: what it came to is for the report.
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
        given = {name: one for name, one in values.items() if one is not None}
        write_text(path, tomli_w.dumps(given))


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
