"""Templates: images of heads in standard spaces, from TemplateFlow or from files of one's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unimo_bids.brain.extraction import extract_brain
from unimo_bids.errors import InputError
from unimo_bids.files.series import Series, read_mask, read_series
from unimo_bids.spaces.anatomy import Anatomy
from unimo_bids.spaces.names import AGE, NATIVE, Space, template_label, template_paths
from unimo_bids.spaces.standard import Head
from unimo_bids.spaces.templateflow import template_files
from unimo_bids.spatial.grid import Grid

_SCANNER, _ALIGNED = 1, 2  # NIfTI's codes; a template is in no scanner
_STRIPPED = 0.3  # of the voxels are exactly 0: the brain has been cut out


@dataclass(frozen=True)
class Template:
    """A standard space, and the image and brain mask that define it."""

    space: Space
    head: Head
    image: Path
    code: int

    def grid(self, run: Grid) -> Grid:
        """Voxels of what is written there: the template's own, or as large as the run's."""
        if self.space.resolution not in (None, NATIVE):
            return self.head.grid
        return covering(self.head.grid, run.cube)


def covering(grid: Grid, size: float) -> Grid:
    """The field of view of a grid in cubes of a size, mm, about the same middle."""
    counts = [
        max(1, round(n * s / size)) for n, s in zip(grid.shape, grid.sizes.tolist(), strict=True)
    ]
    affine = grid.affine.clone()
    affine[:3, :3] *= size / grid.sizes
    shape, new = (torch.tensor(n, dtype=torch.float64) - 1 for n in (grid.shape, counts))
    affine[:3, 3] += grid.affine[:3, :3] @ (shape / 2) - affine[:3, :3] @ (new / 2)
    return Grid((counts[0], counts[1], counts[2]), affine)


def named_template(space: Space) -> Template:
    """Read a template by TemplateFlow's name."""
    files = template_files(space)
    return _read(files.image, files.mask, space)


def anatomy_template(anatomy: Anatomy) -> Template:
    """A participant's own anatomical image as a space."""
    return _read(anatomy.image, anatomy.mask, Space(anatomy.name))


def own_template(given: str, age: float | None = None) -> Template:
    """Read a template from a person's own files.

    Parameters
    ----------
    given
        ``FILE`` or ``FILE:MASK``; ``{age}`` in names stands for weeks: that nearest to `age`.
    age
        Weeks, of who is scanned.
    """
    image, mask = template_paths(given)
    space = Space(template_label(given))
    weeks = None if AGE not in given else _nearest(image, age)

    def at_age(path: Path) -> Path:
        return Path(str(path).replace(AGE, weeks or ""))

    return _read(at_age(image), None if mask is None else at_age(mask), space)


def _nearest(image: Path, age: float | None) -> str:
    """The weeks in a file's name that are nearest to an age, spelled as there."""
    if age is None:
        finding = "the age is not known, and a template is to be chosen by it"
        remedy = "give gestational_age in participants.tsv, or a file without {age}"
        raise InputError(image, finding, remedy)
    before, _, after = image.name.partition(AGE)
    pattern = re.compile(re.escape(before) + r"(\d+(?:\.\d+)?)" + re.escape(after))
    found = [match[1] for path in image.parent.glob("*") if (match := pattern.fullmatch(path.name))]
    if not found:
        finding = "there is no such file, with whatever number of weeks for {age}"
        raise InputError(image, finding, "check the path")
    return min(found, key=lambda weeks: (abs(float(weeks) - age), weeks))


def _read(image: Path, mask: Path | None, space: Space) -> Template:
    volume = read_series(image, single=True)
    if volume.shape[3] > 1:
        finding = f"has {volume.shape[3]} volumes, a template has one"
        raise InputError(image, finding, "extract one")
    values = np.asarray(_brain(volume) if mask is None else read_mask(mask, volume))
    head = Head(volume.frame(0), values.astype(np.float32), volume.grid)
    code = int(volume.header["sform_code"]) or int(volume.header["qform_code"])
    return Template(space, head, image, code if code > _SCANNER else _ALIGNED)


def _brain(volume: Series) -> np.ndarray:
    """The brain of a template that has no mask: all there is, or what the networks find."""
    from scipy import ndimage

    frame = volume.frame(0)
    stripped = frame != 0
    if stripped.mean() < 1 - _STRIPPED and not _touches(stripped):
        return np.asarray(ndimage.binary_fill_holes(stripped))
    found = extract_brain(frame, volume.affine, "unimo")
    if not found.usable:
        finding = f"no brain is found in it ({'; '.join(found.doubts)})"
        raise InputError(volume.path, finding, "give its mask, as FILE:MASK")
    return found.probability


def _touches(mask: np.ndarray) -> bool:
    """Whether a mask reaches faces of the volume above, on which a cut-out brain cannot lie."""
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any() or mask[:, :, -1].any())
