"""The field map that was measured for a run: which, in what unit, and the run's readout.

Files say for which runs they are by ``B0FieldIdentifier`` (a run names its own in
``B0FieldSource``), or by ``IntendedFor``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unimo_bids.bids.inheritance import inherited, sidecars_of
from unimo_bids.bids.names import entities_of, suffix_of
from unimo_bids.bids.timing import image_header
from unimo_bids.pipeline.measured_field import MeasuredField
from unimo_bids.settings import Settings
from unimo_bids.words import grid_axis

# Hz for one of each unit that BIDS knows; protons precess 42.577 MHz a tesla
_HZ = {"Hz": 1.0, "rad/s": 0.15915494309189535, "Tesla": 42.577478518e6}
_MEASURED = ("fieldmap", "phasediff", "phase1", "phase2", "epi")
_LONGEST_READOUT = 0.5  # s; of EPI 0.01 to 0.15
_LONGEST_BETWEEN = 0.1  # s, two echoes; 0.001 to 0.005 are usual


def find_field_map(
    settings: Settings, paths: Sequence[Path], metadata: Mapping[str, Any]
) -> tuple[MeasuredField | None, str]:
    """Find the field map of a run; also returns a phrase about it, or why none is used."""
    root = settings.bids_dir
    participant = root / paths[0].relative_to(root).parts[0]
    found = sorted((*participant.glob("fmap/*.nii*"), *participant.glob("ses-*/fmap/*.nii*")))
    maps = [path for path in found if suffix_of(path) in _MEASURED]
    if not maps or "fieldmaps" in settings.ignore:
        return None, ""
    if settings.deformation == "none":
        return None, "not used: static distortion is left to programs that come after"
    sidecars = {path: sidecars_of(root, path, entities_of(path)) for path in maps}
    about = {path: inherited(sidecars[path]) for path in maps}
    sources = _as_list(metadata.get("B0FieldSource"))
    mine = [
        path
        for path in maps
        if set(sources).intersection(_as_list(about[path].get("B0FieldIdentifier")))
        or (not sources and _intended(about[path], participant, paths))
    ]
    if not mine:
        return None, "not used: none says that it is for this run (B0FieldIdentifier, IntendedFor)"
    readout = _readout(paths[0], metadata)
    if readout is None:
        needed = "a PhaseEncodingDirection, and a TotalReadoutTime or EffectiveEchoSpacing, seconds"
        return None, f"{_names(mine)} not used: the run's sidecar lacks {needed}"
    # what is said of a plain name is said of longer ones, too
    mine.sort(key=lambda path: (len(path.name), path))
    why_not = []
    for kind in (_direct, _of_phases):
        measured = kind(mine, found, about, readout)
        if isinstance(measured, MeasuredField):
            said = " and ".join(path.name for path in measured.paths)
            known = tuple(one for path in measured.paths for one in sidecars[path])
            return replace(measured, sidecars=known), f"{said}, if frames agree better with it"
        why_not.append(measured)
    pairs = [path for path in mine if suffix_of(path) == "epi"]
    if pairs:
        why_not.append(f"{_names(pairs)} not used: of _epi no field is calculated here")
    return None, "; ".join(filter(None, why_not))


def _direct(
    mine: Sequence[Path],
    found: Sequence[Path],
    about: Mapping[Path, Mapping[str, Any]],
    readout: float,
) -> MeasuredField | str:
    """A field map in Hz, or why it cannot be used; empty if there is none."""
    path = next((one for one in mine if suffix_of(one) == "fieldmap"), None)
    if path is None:
        return ""
    unit = about[path].get("Units")
    if unit not in _HZ:
        return f"{path.name} is not used: its Units are {unit!r}, not {' or '.join(_HZ)}"
    return MeasuredField("field", (path,), _companion(path, found, "magnitude"), _HZ[unit], readout)


def _of_phases(
    mine: Sequence[Path],
    found: Sequence[Path],
    about: Mapping[Path, Mapping[str, Any]],
    readout: float,
) -> MeasuredField | str:
    """A phase difference or two phases, or why they cannot be used; empty if there are none."""
    path = next((one for one in mine if suffix_of(one) == "phasediff"), None)
    if path is not None:
        paths, names = [path], "EchoTime1 and EchoTime2"
        echoes = [about[path].get(name) for name in names.split(" and ")]
    else:
        first = next((one for one in mine if suffix_of(one) == "phase1"), None)
        second = first and _companion(first, mine, "phase2")
        if first is None or second is None:
            return f"{_names([first])} not used: it has no _phase2 beside it" if first else ""
        paths, names = [first, second], "EchoTime"
        echoes = [about[one].get("EchoTime") for one in paths]
    one, other = (x if isinstance(x, int | float) and x > 0 else None for x in echoes)
    if one is None or other is None:
        return f"{_names(paths)} not used: no {names}, seconds, in the sidecar"
    between = abs(other - one)
    if not 0 < between <= _LONGEST_BETWEEN:
        return f"{_names(paths)} not used: echoes at {one:g} and {other:g} s, {between:g} s apart"
    magnitude = _companion(paths[0], found, "magnitude1", "magnitude2", "magnitude")
    if magnitude is None:
        return f"{_names(paths)} not used: no _magnitude1 beside it tells tissue from air"
    later_last = paths if one < other else paths[::-1]
    return MeasuredField("phase", tuple(later_last), magnitude, between, readout)


def _companion(path: Path, others: Sequence[Path], *suffixes: str) -> Path | None:
    """The image of the same name with the first of some suffixes that exists."""
    for suffix in suffixes:
        name = path.name.replace(f"_{suffix_of(path)}.", f"_{suffix}.")
        for one in others:
            if one.name == name and one.parent == path.parent:
                return one
    return None


def _names(paths: Sequence[Path]) -> str:
    return " and ".join(path.name for path in paths) + (" is" if len(paths) == 1 else " are")


def _readout(path: Path, metadata: Mapping[str, Any]) -> float | None:
    """Total readout time, seconds, with the sign of the phase-encode direction."""
    direction = str(metadata.get("PhaseEncodingDirection", ""))
    axis = grid_axis(direction)
    if axis is None:
        return None
    seconds, spacing = (metadata.get(name) for name in ("TotalReadoutTime", "EffectiveEchoSpacing"))
    if not isinstance(seconds, int | float) and isinstance(spacing, int | float):
        header = image_header(path)
        lines = metadata.get("ReconMatrixPE") or (header and header["dim"][1 + axis])
        seconds = spacing * (int(lines) - 1) if lines else None
    if not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_READOUT:
        return None
    return -float(seconds) if direction.endswith("-") else float(seconds)


def _intended(about: Mapping[str, Any], participant: Path, paths: Sequence[Path]) -> bool:
    """Whether ``IntendedFor`` names one of the series, by URI or relative to the participant."""
    root = participant.parent
    named = {
        root / one.removeprefix("bids::") if one.startswith("bids::") else participant / one
        for one in _as_list(about.get("IntendedFor"))
    }
    return not named.isdisjoint(paths)


def _as_list(said: Any) -> list[str]:
    """Names as a list, where JSON may give one or several."""
    return [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, str)]
