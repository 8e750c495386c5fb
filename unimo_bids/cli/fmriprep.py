"""Options of fMRIPrep that have no work to do here: a sentence each instead of "unknown option"."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

_NO_SURFACES = "no surfaces are reconstructed"
_NO_ANATOMY = "anatomical images are not used"
_NO_FIELDMAPS = "static distortion is not corrected"
_NO_TRACKING = "nothing is sent anywhere or recorded about its use"

# What a call does without as well: the option, how many values it takes, and why it does nothing.
_NEEDLESS: tuple[tuple[str, int | str, str], ...] = (
    ("--fs-no-reconall", 0, _NO_SURFACES),
    ("--no-submm-recon", 0, _NO_SURFACES),
    ("--fs-no-resume", 0, _NO_SURFACES),
    ("--no-msm", 0, _NO_SURFACES),
    ("--medial-surface-nan", 0, _NO_SURFACES),
    ("--fs-license-file", 1, _NO_SURFACES),
    ("--fs-subjects-dir", 1, _NO_SURFACES),
    ("--skull-strip-t1w", 1, _NO_ANATOMY),
    ("--skull-strip-template", 1, _NO_ANATOMY),
    ("--skull-strip-fixed-seed", 0, _NO_ANATOMY),
    ("--subject-anatomical-reference", 1, _NO_ANATOMY),
    ("--longitudinal", 0, _NO_ANATOMY),
    ("--bold2anat-init", 1, _NO_ANATOMY),
    ("--bold2anat-dof", 1, _NO_ANATOMY),
    ("--fmap-bspline", 0, _NO_FIELDMAPS),
    ("--fmap-no-demean", 0, _NO_FIELDMAPS),
    ("--fallback-total-readout-time", 1, _NO_FIELDMAPS),
    ("--me-output-echos", 0, "every echo is corrected and written anyway"),
    ("--me-t2s-fit-method", 1, "echoes are not combined"),
    ("--random-seed", 1, "nothing is random"),
    ("--track-carbon", 0, _NO_TRACKING),
    ("--country-code", 1, _NO_TRACKING),
    ("--notrack", 0, _NO_TRACKING),
)
# What a call would not give although it was asked for.
_MISSING: tuple[tuple[str, int | str, str], ...] = (
    ("--anat-only", 0, f"{_NO_ANATOMY}, so nothing would be left to do"),
    ("--cifti-output", "?", f"{_NO_SURFACES}, which grayordinates need"),
    ("--project-goodvoxels", 0, f"{_NO_SURFACES}, onto which voxels could be projected"),
    ("--use-syn-sdc", "?", f"{_NO_ANATOMY}, to which SyN would register"),
    ("--force", "+", "nothing of what it forces is done here"),
    ("--return-all-components", 0, "no CompCor components are calculated"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all of them to a parser, hidden from its help."""
    for options, refused in ((_NEEDLESS, False), (_MISSING, True)):
        for name, count, why in options:
            parser.add_argument(
                name,
                nargs=count,
                action=_Elsewhere,
                why=why,
                refused=refused,
                help=argparse.SUPPRESS,
            )
    parser.add_argument("--output-layout", type=_layout, help=argparse.SUPPRESS)


class _Elsewhere(argparse.Action):
    """Say that an option does nothing here; refuse it where its result would be missed."""

    def __init__(self, *args: Any, why: str, refused: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self.why, self.refused = why, refused

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """As argparse calls it."""
        if self.refused:
            parser.error(f"{option_string} cannot be done: {self.why}; leave it out")
        print(f"note: {option_string} does nothing here: {self.why}.", file=sys.stderr)


def _layout(name: str) -> str:
    """Accept the only layout there is."""
    if name != "bids":
        finding = (
            f"the layout {name!r} cannot be written: OUT_DIR is the derivatives dataset itself"
        )
        remedy = "give OUT_DIR/unimo-bids as the output folder"
        raise argparse.ArgumentTypeError(f"{finding}; {remedy}")
    return name
