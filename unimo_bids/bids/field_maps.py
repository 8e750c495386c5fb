"""The field map that was measured for a run: which, in what unit, and the run's readout.

Files say for which runs they are by ``B0FieldIdentifier`` (a run names its own in
``B0FieldSource``), or by ``IntendedFor``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo_bids.bids.inheritance import inherited, sidecars_of
from unimo_bids.bids.timing import image_header
from unimo_bids.settings import Settings
from unimo_bids.words import GRID_AXES

# Hz for one of each unit that BIDS knows; protons precess 42.577 MHz a tesla
_HZ = {"Hz": 1.0, "rad/s": 0.15915494309189535, "Tesla": 42.577478518e6}
_MEASURED = ("fieldmap", "phasediff", "phase1", "phase2", "epi")
_LONGEST_READOUT = 0.5  # s; of EPI 0.01 to 0.15


@dataclass(frozen=True)
class MeasuredField:
    """A field map of a run.

    Attributes
    ----------
    path, magnitude
        The map, and the image that goes with it, if there is one.
    hertz
        For one of the map's unit.
    readout
        Total readout time of the run, seconds; negative where encoding runs against the axis.
    sidecars
        From which that is known.
    """

    path: Path
    magnitude: Path | None
    hertz: float
    readout: float
    sidecars: tuple[Path, ...] = ()

    @property
    def files(self) -> set[Path]:
        """All that is read."""
        return {self.path, *self.sidecars, *([self.magnitude] if self.magnitude else [])}


def find_field_map(
    settings: Settings, paths: Sequence[Path], metadata: Mapping[str, Any]
) -> tuple[MeasuredField | None, str]:
    """Find the field map of a run, and what is to be said of it, or of others that are not used.

    Parameters
    ----------
    paths
        The run's series, by echo.
    metadata
        Of the first.
    """
    root = settings.bids_dir
    participant = root / paths[0].relative_to(root).parts[0]
    found = sorted((*participant.glob("fmap/*.nii*"), *participant.glob("ses-*/fmap/*.nii*")))
    maps = [path for path in found if _suffix(path) in _MEASURED]
    if not maps or "fieldmaps" in settings.ignore:
        return None, ""
    if settings.deformation == "none":
        return None, "not used: static distortion is left to programs that come after"
    sidecars = {path: sidecars_of(root, path, _entities(path)) for path in maps}
    about = {path: inherited(sidecars[path]) for path in maps}
    sources = _listed(metadata.get("B0FieldSource"))
    mine = [
        path
        for path in maps
        if set(sources).intersection(_listed(about[path].get("B0FieldIdentifier")))
        or (not sources and _intended(about[path], participant, paths))
    ]
    if not mine:
        return None, "not used: none says that it is for this run (B0FieldIdentifier, IntendedFor)"
    # what is said of a plain name is said of longer ones, too
    direct = sorted((one for one in mine if _suffix(one) == "fieldmap"), key=_by_length)
    if not direct:
        kinds = " and ".join(sorted({f"_{_suffix(path)}" for path in mine}))
        return None, f"not used: of {kinds} no field is calculated here, only a _fieldmap is read"
    path = direct[0]
    unit, readout = about[path].get("Units"), _readout(paths[0], metadata)
    if unit not in _HZ:
        return None, f"{path.name} is not used: its Units are {unit!r}, not {' or '.join(_HZ)}"
    if readout is None:
        needed = "a PhaseEncodingDirection, and a TotalReadoutTime or EffectiveEchoSpacing, seconds"
        return None, f"{path.name} is not used: the run's sidecar lacks {needed}"
    magnitude = [one for one in found if one.name == path.name.replace("_fieldmap.", "_magnitude.")]
    first = magnitude[0] if magnitude else None
    return MeasuredField(
        path, first, _HZ[unit], readout, sidecars[path]
    ), f"{path.name}, if frames agree better with it"


def _readout(path: Path, metadata: Mapping[str, Any]) -> float | None:
    """Total readout time, seconds, with the sign of the phase-encode direction."""
    direction = str(metadata.get("PhaseEncodingDirection", ""))
    axis = GRID_AXES.find(direction.removesuffix("-") or "-")
    seconds, spacing = (metadata.get(name) for name in ("TotalReadoutTime", "EffectiveEchoSpacing"))
    if not isinstance(seconds, int | float) and isinstance(spacing, int | float):
        header = image_header(path)
        lines = metadata.get("ReconMatrixPE") or (header and header["dim"][1 + axis])
        seconds = spacing * (int(lines) - 1) if lines else None
    if axis < 0 or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_READOUT:
        return None
    return -float(seconds) if direction.endswith("-") else float(seconds)


def _intended(about: Mapping[str, Any], participant: Path, paths: Sequence[Path]) -> bool:
    """Whether a map says it is for one of some series: by URI, or from the participant's folder."""
    root = participant.parent
    named = {
        root / one.removeprefix("bids::") if one.startswith("bids::") else participant / one
        for one in _listed(about.get("IntendedFor"))
    }
    return not named.isdisjoint(paths)


def _listed(said: Any) -> list[str]:
    """What may be one name or several."""
    return [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, str)]


def _by_length(path: Path) -> tuple[int, Path]:
    return len(path.name), path


def _suffix(path: Path) -> str:
    return path.name.split(".")[0].rpartition("_")[2]


def _entities(path: Path) -> dict[str, str]:
    pairs = path.name.split("_")[:-1]
    return {name: value for name, _, value in (pair.partition("-") for pair in pairs)}
