"""Files of a field measured in the scanner: found without PyTorch, read by `field_maps`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unimo_bids.words import FieldMapKind


@dataclass(frozen=True)
class MeasuredField:
    """Files of one field map.

    Attributes
    ----------
    kind
        ``field``: a map; ``phase``: a difference of phase between two echoes, or two phases, the
        later one last.
    paths
        One, or two, of the same kind.
    magnitude
        The image that goes with them, if there is one.
    scale
        Of a map, Hz of one of its unit; of phases, seconds between the echoes.
    readout
        Total readout time of the run, seconds; negative where encoding runs against the axis.
    sidecars
        From which that is known.
    """

    kind: FieldMapKind
    paths: tuple[Path, ...]
    magnitude: Path | None
    scale: float
    readout: float
    sidecars: tuple[Path, ...] = ()

    @property
    def files(self) -> set[Path]:
        """All files that are read."""
        return {*self.paths, *self.sidecars, *([self.magnitude] if self.magnitude else [])}
