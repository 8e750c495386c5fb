"""Motion that an earlier call estimated: with it, a run is only resampled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo_bids.bids.names import run_names, sidecar
from unimo_bids.errors import InputError


@dataclass(frozen=True)
class GivenMotion:
    """Files of an earlier call of this program about one run.

    `about`: how the motion was estimated: the sidecar of the transforms.
    """

    transforms: Path
    boldref: Path
    brain: Path
    confounds: Path
    about: Mapping[str, Any]


# of the sidecar, what poses cannot be used without; of its values, what they are read as
_ABOUT = {"ReferenceFrame": int, "Center": list, "Radius": float, "Mode": str, "Findings": list}
_BY_SLICES = "its frames were made from slices, of which transforms hold one pose a frame"
_UNDER_FIELD = (
    "its transforms are those under a distortion field, and do not align frames without it"
)


def find_motion(
    entities: Mapping[str, str], echoes: Sequence[str], derivatives: Mapping[str, Path]
) -> tuple[GivenMotion | None, tuple[str, ...]]:
    """Find the motion of a run; the first dataset that has all of it wins.

    Of frames that were made from slices, transforms hold one pose; those under a distortion field
    do not align frames without it: such motion is not taken.

    Returns
    -------
    motion
        None if there is none.
    warnings
        About motion that is there and not taken, a sentence each.

    Raises `InputError`: it is all there, but does not say what it is relative to.
    """
    names = run_names(entities, echoes, "minimal")
    wanted = (names.transforms, names.boldref, names.brain, names.confounds)
    beside = {names.slices: _BY_SLICES, names.distortion: _UNDER_FIELD}
    warnings: list[str] = []
    for label, dataset in derivatives.items():
        transforms, boldref, brain, confounds = (dataset / name for name in wanted)
        if not all((dataset / name).is_file() for name in wanted):
            continue
        reasons = (why for name, why in beside.items() if (dataset / name).exists())
        if why_not := next(reasons, None):
            warnings.append(f"The motion of {label} is not taken: {why_not}.")
            continue
        about = _about(dataset / sidecar(names.transforms))
        return GivenMotion(transforms, boldref, brain, confounds, about), tuple(warnings)
    return None, tuple(warnings)


def _about(path: Path) -> Mapping[str, Any]:
    remedy = "leave this folder out of --derivatives, or remove the transforms"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: kind(content[name]) for name, kind in _ABOUT.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        finding = f"it does not say how the transforms beside it were estimated ({error!r})"
        raise InputError(path, finding, remedy) from error
