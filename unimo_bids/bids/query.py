"""Which runs of a dataset there are to do, and all that is known about each before it begins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from unimo_bids.bids.field_maps import find_field_map
from unimo_bids.bids.filters import read_filters
from unimo_bids.bids.hints import Hint, hint_for
from unimo_bids.bids.index import Index
from unimo_bids.bids.inheritance import inherited, sidecars_of
from unimo_bids.bids.masks import find_mask
from unimo_bids.bids.motion import GivenMotion, find_motion
from unimo_bids.bids.names import parse_series, plain, stem
from unimo_bids.bids.refusals import check_names, named_bold, no_bold
from unimo_bids.bids.timing import timing_of
from unimo_bids.errors import InputError
from unimo_bids.pipeline.measured_field import MeasuredField
from unimo_bids.settings import Settings

# Complex data are corrected by their magnitude; the rest would be the same motion once more.
_NOT_MAGNITUDE = ("phase", "real", "imag")
_LATEST_ECHO = 1000  # ms, as some write them

Entities = dict[str, str]
Run = TypeVar("Run", bound=Hashable)


@dataclass(frozen=True)
class BoldRun:
    """One run of BOLD, of one or several echoes.

    Attributes
    ----------
    paths
        Raw series, one per echo, by rising echo time.
    entities
        By short name, spelled as in the file's name, without echo: ``{"sub": "01", …}``.
    metadata, sidecars
        What sidecars say about the first echo, and those of all echoes.
    repetition_time, volume_timing
        Seconds: from frame to frame, or, where this is uneven, of each frame's start.
    echo_times
        Seconds, as far as sidecars say.
    sbref
        Single-band reference of the first echo.
    field_map, about_field_maps
        What was measured of the field, if it can be used; and a phrase on that, where there is any.
    hint
        Where its brain is, if somebody has said so.
    """

    paths: tuple[Path, ...]
    entities: Mapping[str, str]
    metadata: Mapping[str, Any]
    repetition_time: float | None
    volume_timing: tuple[float, ...] | None = None
    echoes: tuple[str, ...] = ()
    echo_times: tuple[float, ...] = ()
    sbref: Path | None = None
    mask: Path | None = None
    hint: Hint | None = None
    motion: GivenMotion | None = None
    sidecars: tuple[Path, ...] = ()
    field_map: MeasuredField | None = None
    about_field_maps: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def participant(self) -> str:
        """Label without ``sub-``."""
        return self.entities["sub"]

    @property
    def session(self) -> str | None:
        """Label without ``ses-``."""
        return self.entities.get("ses")

    @property
    def name(self) -> str:
        """Beginning of its files' names, ``sub-01_ses-1_task-rest_run-1``."""
        return stem(self.entities)


@dataclass(frozen=True)
class Selection:
    """Runs to correct by participant's label, sorted by name, and warnings."""

    participants: Mapping[str, tuple[BoldRun, ...]]
    warnings: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[BoldRun, ...]:
        """All of them."""
        return tuple(run for runs in self.participants.values() for run in runs)


def find_runs(settings: Settings) -> Selection:
    """Find the runs that the settings ask for.

    Raises `InputError`: a label is not in the dataset, a name is not BIDS, or nothing is left to
    do.
    """
    filters = read_filters(settings.bids_filter_file) if settings.bids_filter_file else {}
    check_names(settings)
    if settings.participant_label:
        known = raw_runs(settings.bids_dir)
        if known:  # else there is more to be said than that these are not there
            _by_label(known, "--participant-label", "sub", settings.participant_label)
    index = Index(
        settings.bids_dir,
        settings.bids_database_dir,
        participants=settings.participant_label,
        metadata=any(key[:1].isupper() for wanted in filters.values() for key in wanted),
    )
    there = _parsed(index.series("bold"))
    if not there:
        raise no_bold(settings.bids_dir)
    chosen = by_labels(there, settings)
    if filters.get("bold"):
        passed = set(index.series("bold", filters["bold"]))
        chosen = {path: entities for path, entities in chosen.items() if path in passed}
    if not chosen:
        finding = "no BOLD series fits all of what was asked for, so there is nothing to do"
        raise InputError(settings.bids_dir, finding, "ask for less (labels, --bids-filter-file)")

    references = _parsed(index.series("sbref", filters.get("sbref")))
    grouped: dict[str, dict[Path, Entities]] = defaultdict(dict)
    for path, entities in chosen.items():
        grouped[_without_echo(entities)][path] = entities
    participants: dict[str, list[BoldRun]] = defaultdict(list)
    for _, echoes in sorted(grouped.items()):
        run = _run(echoes, references, settings)
        participants[run.participant].append(run)
    absent = [one for one in settings.participant_label if one not in participants]
    return Selection(
        {label: tuple(runs) for label, runs in participants.items()},
        tuple(f"No run of sub-{label} matches the selection." for label in absent),
    )


def raw_runs(bids_dir: Path) -> dict[str, Entities]:
    """Entities of all runs of a dataset, read quickly from file names alone."""
    found = _parsed(named_bold(bids_dir))
    return {_without_echo(entities): entities for entities in found.values()}


def used_files(selection: Selection, settings: Settings) -> set[Path]:
    """Files of the raw dataset that are read for these runs."""
    root = settings.bids_dir
    used = {root / "dataset_description.json"}
    for run in selection.runs:
        used |= {*run.paths, *run.sidecars}
        used |= {run.sbref} if run.sbref is not None and settings.reference == "sbref" else set()
        used |= run.field_map.files if run.field_map is not None else set()
        used |= {run.hint.file} if run.hint is not None and run.hint.file is not None else set()
        if settings.population == "auto":
            label = f"sub-{run.participant}"
            for table in (root / "participants", root / label / f"{label}_sessions"):
                used |= {table.with_suffix(".tsv"), table.with_suffix(".json")}
    return used


def _parsed(paths: Iterable[Path]) -> dict[Path, Entities]:
    found = {path: parse_series(path) for path in paths}
    return {
        path: entities
        for path, entities in found.items()
        if entities is not None and entities.get("part") not in _NOT_MAGNITUDE
    }


def by_labels(there: Mapping[Run, Entities], settings: Settings) -> dict[Run, Entities]:
    """Select runs, or files of runs, by the labels of the command line; refuse unknown labels."""
    echo = (str(settings.echo_idx),) if settings.echo_idx is not None else ()
    chosen = dict(there)
    for option, entity, labels in (
        ("--participant-label", "sub", settings.participant_label),
        ("--session-label", "ses", settings.session_label),
        ("--task-id", "task", settings.task_id),
        ("--run-id", "run", settings.run_id),
        ("--echo-idx", "echo", echo),
    ):
        chosen = _by_label(chosen, option, entity, labels)
    return chosen


def _by_label(
    series: Mapping[Run, Entities], option: str, entity: str, labels: Sequence[str]
) -> dict[Run, Entities]:
    if not labels:
        return dict(series)
    spelled = partial(plain, entity)
    known = sorted({one[entity] for one in series.values() if entity in one})
    unknown = [one for one in labels if spelled(one) not in map(spelled, known)]
    if unknown:
        asked = ", ".join(f"{entity}-{one}" for one in unknown)
        where = " among those chosen otherwise" if entity != "sub" else ""
        finding = f"there is no BOLD run of {asked}{where}"
        listed = ", ".join(known) if known else f"none (no name has {entity}-)"
        raise InputError(option, finding, f"known are {listed}")
    wanted = {spelled(one) for one in labels}
    return {path: one for path, one in series.items() if spelled(one.get(entity, "")) in wanted}


def _without_echo(entities: Entities) -> str:
    return stem({name: value for name, value in entities.items() if name != "echo"})


def _run(
    series: Mapping[Path, Entities], references: Mapping[Path, Entities], settings: Settings
) -> BoldRun:
    """Put the echoes of a run together."""
    twice = len(series) - len({entities.get("echo") for entities in series.values()})
    if twice:
        first, second = sorted(series)[:2]
        raise InputError(
            second, f"it is the same run as {first.name}", "leave one of the two in the dataset"
        )
    sidecars = {
        path: sidecars_of(settings.bids_dir, path, entities) for path, entities in series.items()
    }
    metadata = {path: inherited(sidecars[path]) for path in series}
    warnings: list[str] = []
    paths = _in_order(series, metadata, warnings)
    first = paths[0]
    entities = {name: value for name, value in series[first].items() if name != "echo"}
    echoes = tuple(series[path]["echo"] for path in paths if "echo" in series[path])
    timing = timing_of(first, metadata[first])
    mask, about_masks = find_mask(first, entities, echoes, settings.derivatives)
    hint, about_hints = hint_for(settings, entities, sidecars[first])
    motion, about_motion = find_motion(entities, echoes, settings.derivatives)
    field_map, about_field_maps = find_field_map(settings, paths, metadata[first])
    times = [_echo_time(metadata[path]) for path in paths]
    return BoldRun(
        paths=tuple(paths),
        entities=entities,
        metadata=metadata[first],
        repetition_time=timing.repetition_time,
        volume_timing=timing.volume_timing,
        echoes=echoes,
        echo_times=tuple(one for one in times if one is not None),
        sbref=_reference_of(series[first], references),
        mask=mask,
        hint=hint,
        motion=motion,
        sidecars=tuple(sorted({one for each in sidecars.values() for one in each})),
        field_map=field_map,
        about_field_maps=about_field_maps,
        warnings=(*warnings, *timing.warnings, *about_masks, *about_hints, *about_motion),
    )


def _in_order(
    series: Mapping[Path, Entities], metadata: Mapping[Path, Mapping[str, Any]], warnings: list[str]
) -> list[Path]:
    """Echoes by rising echo time; by their number where times are missing."""
    paths = sorted(series, key=lambda path: int(series[path].get("echo", 0)))
    times = {path: _echo_time(metadata[path]) for path in paths}
    if len(paths) == 1:
        return paths
    if None in times.values():
        warnings.append("Not all echoes have an EchoTime; they are taken in the order of names.")
        return paths
    return sorted(paths, key=lambda path: times[path] or 0)


def _echo_time(metadata: Mapping[str, Any]) -> float | None:
    """Seconds; None where it is missing, or is no time."""
    said = metadata.get("EchoTime")
    if isinstance(said, int | float) and 0 <= said <= _LATEST_ECHO:
        return float(said)
    return None


def _reference_of(entities: Entities, references: Mapping[Path, Entities]) -> Path | None:
    """Single-band reference with the same entities; ``part`` may be missing from its name."""
    wanted = entities | {"part": ""}
    return next((path for path, one in references.items() if one | {"part": ""} == wanted), None)
