"""A place in the brain that a person has seen: how it is written, and where it is.

Nothing heavy is imported at the top: a command line that cannot be used is refused at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unimo_bids.errors import InputError

if TYPE_CHECKING:
    from unimo_bids.files.series import Series

OPTION = "--brain-center"
FORM = "X,Y,Z in mm (RAS), or I,J,Kvox in voxels from 0"

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_PLACE = re.compile(rf"({_NUMBER}),({_NUMBER}),({_NUMBER})(vox)?", re.IGNORECASE)


def read_place(text: str) -> str:
    """Check how a place is written; the same without spaces.

    Raises
    ------
    ValueError
        It is not three numbers.

    Examples
    --------
    >>> read_place("12.5, -30, 44"), read_place("62,86,28 vox")
    ('12.5,-30,44', '62,86,28vox')
    """
    plain = re.sub(r"\s", "", text)
    if not _PLACE.fullmatch(plain):
        raise ValueError(f"{text!r} is no place; give {FORM}")
    return plain


def check_place(place: str | None, extraction: str, mask: Path | None = None) -> None:
    """Refuse a place in the brain where nobody looks for one."""
    if place is None or (mask is None and extraction in ("auto", "unimo")):
        return
    other = f"--brain-extraction {extraction}" if mask is None else "--mask"
    raise InputError(OPTION, f"with {other} no place is looked at", "leave one of the two out")


def place_of(center: Sequence[float]) -> str:
    """Write a point ``(3,)``, RAS mm, as a place, to whole millimetres.

    Examples
    --------
    >>> place_of([-31.2, 12, -0.4])
    '-31,12,0'
    """
    return ",".join(str(round(float(one))) for one in center)


def option_for(center: Sequence[float]) -> str:
    """What to give on the command line for a point ``(3,)``, RAS mm; one word."""
    return f"{OPTION}={place_of(center)}"


def locate(place: str, series: Series, said: str = OPTION) -> tuple[float, float, float]:
    """Where a place is, RAS mm.

    Raises
    ------
    InputError
        It lies outside of the field of view.
    """
    import numpy as np

    match = _PLACE.fullmatch(place)
    if match is None:
        raise ValueError(f"{place!r} is no place; give {FORM}")
    given = np.array([float(number) for number in match.groups()[:3]])
    affine, shape = series.affine, np.array(series.shape[:3])
    linear, origin = affine[:3, :3], affine[:3, 3]
    index = given if match[4] else np.linalg.solve(linear, given - origin)
    # voxels have a size: the field of view ends at their faces
    if not ((index > -0.5 - 1e-6) & (index < shape - 0.5 + 1e-6)).all():
        if match[4]:
            seen = ", ".join(f"0 to {many - 1}" for many in shape) + " voxels"
        else:
            corners = np.indices((2, 2, 2)).reshape(3, -1).T * shape - 0.5
            world = corners @ linear.T + origin
            spans = zip("xyz", world.min(axis=0), world.max(axis=0), strict=True)
            seen = ", ".join(f"{axis} {low:.0f} to {high:.0f}" for axis, low, high in spans) + " mm"
        finding = f"{said} {place} lies outside of the field of view ({seen})"
        raise InputError(series.path, finding, f"give a place in the brain, {FORM}")
    x, y, z = (linear @ index + origin).tolist()
    return x, y, z
