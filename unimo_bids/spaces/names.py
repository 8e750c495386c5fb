"""Names of output spaces, in fMRIPrep's grammar: ``MNI152NLin2009cAsym:res-2``.

What is light enough for the command line; templates are read in `spaces.templates`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unimo_bids.errors import InputError

# fMRIPrep's words for the run's own space, in which everything is written anyway
OWN = ("func", "bold", "boldref", "run", "sbref")
# the run's own size, turned to the axes of the head
AXES = "anat-axes"
_SURFACES = ("fsaverage", "fsaverage5", "fsaverage6", "fsLR", "fsnative", "onavg")
# a participant's own, where another program has prepared it
ANATOMIES = ("T1w", "T2w")
OF_PERSON = (AXES, *ANATOMIES)  # of who is scanned, and in no archive
_NAME = re.compile(r"[A-Za-z0-9]+")
NATIVE = "native"
AGE = "{age}"  # in the name of a file: weeks


class SpaceError(ValueError):
    """A word that names no output space; the message says why, and what to give instead."""


@dataclass(frozen=True)
class Space:
    """A standard space and how finely it is sampled.

    Attributes
    ----------
    name
        Of the template.
    cohort
        Of a template that has several, as TemplateFlow numbers them; None for one that has none.
    resolution
        Index of a resolution as TemplateFlow numbers them, which is mm for most; ``native`` for
        voxels as large as the run's; None as well, but files' names do not say so.
    """

    name: str
    cohort: str | None = None
    resolution: str | None = None

    def __str__(self) -> str:
        parts = [self.name]
        parts += [f"cohort-{self.cohort}"] if self.cohort else []
        parts += [f"res-{self.resolution}"] if self.resolution else []
        return ":".join(parts)

    @property
    def entities(self) -> str:
        """As in files' names, ``space-MNIInfant_cohort-1_res-2``."""
        parts = str(self).split(":")
        return "_".join([f"space-{parts[0].replace('-', '')}", *parts[1:]])

    @property
    def target(self) -> str:
        """Name of the space in transforms, ``MNIInfant+1``, the same for all resolutions."""
        return "+".join(filter(None, [self.name.replace("-", ""), self.cohort]))

    @property
    def xfm(self) -> str:
        """What transforms' names end in: nothing is bent on the way to who is scanned."""
        return "xfm.txt" if self.name in OF_PERSON else "xfm.h5"


def parse_spaces(words: Iterable[str]) -> tuple[Space, ...]:
    """Read output spaces; the run's own, which needs no naming, is left out.

    >>> [str(space) for space in parse_spaces(["func", "MNIInfant:cohort-1:res-2"])]
    ['MNIInfant:cohort-1:res-2']
    """
    spaces: dict[Space, None] = {}
    for word in words:
        if word in OWN:
            continue
        spaces |= dict.fromkeys(_parsed(word))
    return tuple(spaces)


def output_spaces(words: Sequence[str], own: Sequence[str]) -> list[Space]:
    """All output spaces besides the run's own: named ones, and those of given templates.

    Raises `InputError`: two have the same name, or there is no template to find the head's axes on.
    """
    named = parse_spaces(words)
    spaces = [
        *(space for space in named if space.name != AXES),
        *(Space(template_label(given)) for given in own),
        *(space for space in named if space.name == AXES),
    ]
    if spaces == [Space(AXES)]:
        remedy = "name a template of the same age as well, or give --template FILE"
        raise InputError(
            AXES, "the axes of a head are found on a template, and none is given", remedy
        )
    for space in spaces:
        if spaces.count(space) > 1:
            finding = "two templates have this name, and files are named for it"
            raise InputError(str(space), finding, "rename a file to tpl-NAME_….nii.gz")
    return spaces


def template_paths(given: str) -> tuple[Path, Path | None]:
    """Image and mask of ``FILE`` or ``FILE:MASK``."""
    image, colon, mask = given.rpartition(":")
    if not colon:
        return Path(mask), None
    return Path(image), Path(mask)


def template_label(given: str) -> str:
    """Label of a given template in file names: ``NAME`` of ``tpl-NAME_…``, or its letters.

    >>> template_label("atlas/template-{age}.nii.gz"), template_label("tpl-CRL_T2w.nii.gz:mask.nii")
    ('template', 'CRL')
    """
    name = template_paths(given)[0].name.replace(AGE, "")
    entity = re.match(r"tpl-([A-Za-z0-9]+)", name)
    letters = re.sub(r"[^A-Za-z0-9]", "", re.sub(r"\.nii(\.gz)?$", "", name))
    return entity[1] if entity else letters or "template"


def _parsed(word: str) -> list[Space]:
    name, *modifiers = word.split(":")
    if name in _SURFACES:
        raise SpaceError(f"{name} is a surface, and no surfaces are reconstructed; leave it out")
    if name in (AXES, *ANATOMIES, "anat") and not modifiers:
        return [Space("T1w" if name == "anat" else name)]
    if not _NAME.fullmatch(name):
        raise SpaceError(f"{word!r} names no output space; give one as MNI152NLin2009cAsym:res-2")
    cohorts: list[str | None] = []
    resolutions: list[str | None] = []
    for modifier in modifiers:
        kind, _, value = modifier.partition("-")
        if kind == "cohort" and re.fullmatch("[A-Za-z0-9]+", value):
            cohorts.append(value)
        elif kind in ("res", "resolution") and re.fullmatch(f"[0-9]+|{NATIVE}", value):
            resolutions.append(value if value == NATIVE else str(int(value)))
        else:
            raise SpaceError(
                f"{modifier!r} in {word!r} is neither cohort-X nor res-N (or res-{NATIVE})"
            )
    return [
        Space(name, cohort, resolution)
        for cohort in cohorts or [None]
        for resolution in resolutions or [None]
    ]
