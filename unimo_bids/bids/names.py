"""The one place that knows what files are called: raw series, and everything that is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unimo_bids.errors import InputError
from unimo_bids.spaces.names import Space

_LABEL, _NUMBER = "[A-Za-z0-9+]+", "[0-9]+"
# Entities of a raw series in the order BIDS prescribes: short name, full name, permitted values
_RAW = (
    ("sub", "subject", _LABEL),
    ("ses", "session", _LABEL),
    ("task", "task", _LABEL),
    ("acq", "acquisition", _LABEL),
    ("ce", "ceagent", _LABEL),
    ("rec", "reconstruction", _LABEL),
    ("dir", "direction", _LABEL),
    ("run", "run", _NUMBER),
    ("echo", "echo", _NUMBER),
    ("part", "part", "mag|phase|real|imag"),
    ("chunk", "chunk", _NUMBER),
)
_KINDS = {name: kind for name, _, kind in _RAW}
ENTITIES = tuple(_KINDS)
FULL_ENTITIES = tuple(full for _, full, _ in _RAW)


def _pattern() -> re.Pattern[str]:
    parts = []
    for name, kind in _KINDS.items():
        part = f"{name}-(?P<{name}>{kind})_"
        parts.append(part if name in ("sub", "task") else f"(?:{part})?")
    return re.compile("".join(parts) + r"(?P<suffix>bold|sbref)(?P<extension>\.nii(?:\.gz)?)")


_SERIES = _pattern()
_CORRECTED = "_desc-preproc_bold.nii.gz"
# Folders of a participant or session, but ``func``
OTHER_DATATYPES = (
    *("anat", "beh", "dwi", "eeg", "fmap", "ieeg", "meg", "micr", "motion", "mrs", "nirs"),
    *("perf", "pet"),
)


def parse_series(path: Path) -> dict[str, str] | None:
    """Entities of a raw series from its path, spelled as there; None if BIDS knows no such name.

    >>> parse_series(Path("sub-01/func/sub-01_task-rest_run-02_bold.nii.gz"))
    {'sub': '01', 'task': 'rest', 'run': '02'}
    """
    match = _SERIES.fullmatch(path.name)
    if match is None:
        return None
    entities = {name: match[name] for name in ENTITIES if match[name] is not None}
    if path.parts[-len(func_folder(entities).parts) - 1 : -1] != func_folder(entities).parts:
        return None
    return entities


def labels(stem: str) -> dict[str, str]:
    """Take the beginning of a name apart: ``sub-01_task-rest`` is sub: 01, task: rest."""
    return {key: value for key, _, value in (part.partition("-") for part in stem.split("_"))}


def plain(entity: str, label: str) -> str:
    """A label without the leading zeros that numbers may have, for comparison.

    >>> plain("run", "01"), plain("sub", "01")
    ('1', '01')
    """
    numbered = _KINDS.get(entity) == _NUMBER
    return str(int(label)) if numbered and label.isdecimal() else label


def entities_of(path: Path) -> dict[str, str]:
    """Entities in the name of any file, BIDS or not."""
    return labels(path.name.rpartition("_")[0])


def suffix_of(path: Path) -> str:
    """The part of a name that follows its entities, as ``bold``."""
    return path.name.split(".")[0].rpartition("_")[2]


def func_folder(entities: Mapping[str, str]) -> Path:
    """Folder of a run within its dataset."""
    session = [f"ses-{entities['ses']}"] if "ses" in entities else []
    return Path(f"sub-{entities['sub']}", *session, "func")


def stem(entities: Mapping[str, str]) -> str:
    """Beginning of a name, ``sub-01_ses-1_task-rest``; refuses what could leave the folder."""
    for name, value in entities.items():
        if name not in _KINDS or not re.fullmatch(_KINDS[name], value):
            raise InputError(f"{name}-{value}", "this is no BIDS entity", "rename the raw file")
    return "_".join(f"{name}-{entities[name]}" for name in _KINDS if name in entities)


@dataclass(frozen=True)
class RunNames:
    """Where everything about one run goes, relative to the output folder.

    Attributes
    ----------
    bold
        Corrected series, one per echo; none at level ``minimal``.
    boldref, mask, brain
        Template of aligned frames, its mask, its soft mask.
    slices, coverage
        Table with a row per slice, and how well slices cover each frame, where slices were
        followed.
    distortion, displacement
        Coefficients of the distortion field, and its displacements, where there is one.
    """

    bold: tuple[Path, ...]
    boldref: Path
    mask: Path
    brain: Path
    transforms: Path
    confounds: Path
    tsnr_before: Path
    tsnr_after: Path
    slices: Path
    coverage: Path
    distortion: Path
    displacement: Path

    @property
    def all(self) -> tuple[Path, ...]:
        """The files that every run has, without their sidecars."""
        others = (self.boldref, self.mask, self.brain, self.transforms, self.confounds)
        return (*self.bold, *others, self.tsnr_before, self.tsnr_after)


def run_names(
    entities: Mapping[str, str], echoes: Sequence[str] = (), level: str = "full"
) -> RunNames:
    """Name the derivatives of a run."""
    place = func_folder(entities) / stem(entities)

    def named(ending: str) -> Path:
        return place.with_name(f"{place.name}_{ending}")

    return RunNames(
        bold=_bold_names(entities, echoes, level, _CORRECTED),
        boldref=named("boldref.nii.gz"),
        mask=named("desc-brain_mask.nii.gz"),
        brain=named("label-brain_probseg.nii.gz"),
        transforms=named("from-orig_to-boldref_mode-image_desc-hmc_xfm.txt"),
        confounds=named("desc-confounds_timeseries.tsv"),
        tsnr_before=named("stat-tsnr_desc-orig_boldmap.nii.gz"),
        tsnr_after=named("stat-tsnr_desc-preproc_boldmap.nii.gz"),
        slices=named("desc-slices_timeseries.tsv"),
        coverage=named("desc-coverage_boldmap.nii.gz"),
        distortion=named("from-orig_to-boldref_mode-image_desc-deform_xfm.json"),
        displacement=named("desc-displacement_boldmap.nii.gz"),
    )


def _bold_names(
    entities: Mapping[str, str], echoes: Sequence[str], level: str, ending: str
) -> tuple[Path, ...]:
    """Name the corrected series, one per echo; none at level ``minimal``."""
    if level != "full":
        return ()
    each = [{**entities, "echo": echo} for echo in echoes] or [dict(entities)]
    return tuple(func_folder(entities) / f"{stem(one)}{ending}" for one in each)


@dataclass(frozen=True)
class SpaceNames:
    """Where everything about one run in a standard space goes, relative to the output folder."""

    bold: tuple[Path, ...]
    boldref: Path
    mask: Path
    transform: Path

    @property
    def all(self) -> tuple[Path, ...]:
        """All of them, without their sidecars."""
        return (*self.bold, self.boldref, self.mask, self.transform)


def space_names(
    entities: Mapping[str, str],
    space: Space,
    echoes: Sequence[str] = (),
    level: str = "full",
    through: str | None = None,
) -> SpaceNames:
    """Name the derivatives of a run in a standard space; other arguments as of `run_names`.

    `through`: the anatomical image to which the run's transform leads, if another program's
    transform leads on from there.
    """
    way = space if through is None else Space(through)
    folder, run = func_folder(entities), stem(entities)
    return SpaceNames(
        bold=_bold_names(entities, echoes, level, f"_{space.entities}{_CORRECTED}"),
        boldref=folder / f"{run}_{space.entities}_boldref.nii.gz",
        mask=folder / f"{run}_{space.entities}_desc-brain_mask.nii.gz",
        transform=folder / f"{run}_from-boldref_to-{way.target}_mode-image_{way.xfm}",
    )


def files_in_spaces(out_dir: Path, entities: Mapping[str, str]) -> list[Path]:
    """All files of a run in standard spaces that are in the output folder, sidecars as well."""
    folder = out_dir / func_folder(entities)
    any_echo = stem({**entities, "echo": "0"}).replace("_echo-0", "_echo-*")
    patterns = (
        f"{stem(entities)}_space-*",
        f"{any_echo}_space-*",
        f"{stem(entities)}_from-boldref_to-*_mode-image_xfm.*",
    )
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def corrected_series(out_dir: Path, entities: Mapping[str, str]) -> list[Path]:
    """Corrected series of a run, of whatever echo, that are in the output folder."""
    found = []
    for path in sorted((out_dir / func_folder(entities)).glob(f"sub-*{_CORRECTED}")):
        one = parse_series(path.with_name(path.name.removesuffix(_CORRECTED) + "_bold.nii.gz"))
        if one is not None and {**one, "echo": ""} == {**entities, "echo": ""}:
            found.append(path)
    return found


def sidecar(path: Path) -> Path:
    """JSON beside a file."""
    return path.with_name(re.sub(r"\.(nii\.gz|nii|txt|tsv|h5)$", "", path.name) + ".json")


def participant_folder(label: str) -> Path:
    """Folder of a participant."""
    return Path(stem({"sub": label}))


def report(label: str) -> Path:
    """Report of a participant."""
    return Path(f"{stem({'sub': label})}.html")


def log_folder(label: str, run_uuid: str) -> Path:
    """Folder of settings and crash files of one run of the program."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", run_uuid):
        raise ValueError(f"{run_uuid!r} cannot name a folder")
    return participant_folder(label) / "log" / run_uuid


def finished_logs(participant: Path) -> list[Path]:
    """Log folders of the calls that corrected runs of a participant, the last one last."""
    # their names begin with the time; calls that only made reports left no settings
    return [path.parent for path in sorted(participant.glob(f"log/*/{SETTINGS}"))]


CITATION = Path("logs", "CITATION.md")
SETTINGS = "settings.toml"
GROUP_TABLE = Path("group_bold.tsv")
GROUP_REPORT = Path("group_bold.html")
