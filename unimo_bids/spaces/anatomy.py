"""An anatomical image that another program has brought to standard spaces: a way through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Anatomy:
    """Files of a participant's anatomical image.

    Attributes
    ----------
    name
        Its space: ``T1w`` or ``T2w``.
    image, mask
        Of the head, and its brain.
    transforms
        Where points of a standard space are in the image, ITK's HDF5, by `Space.target`.
    """

    name: str
    image: Path
    mask: Path
    transforms: Mapping[str, Path]
