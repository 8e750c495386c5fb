"""A run in standard spaces: found on its template image, resampled once from the raw frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.deformation.epi import Distortion
from unimo_bids.errors import InputError
from unimo_bids.files.composite import write_composite
from unimo_bids.files.series import Series
from unimo_bids.files.transforms import write_itk
from unimo_bids.files.writing import SeriesWriter, write_volume
from unimo_bids.motion.correction import Then, correct_series
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.pipeline.rebuilt import Rebuilt, SliceResult
from unimo_bids.spaces.anatomy import Anatomy
from unimo_bids.spaces.names import ANATOMIES, AXES, OF_PERSON, Space, parse_spaces
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.resampling import resample
from unimo_bids.words import Interpolation

if TYPE_CHECKING:
    from unimo_bids.spaces.standard import Head, SpacePose
    from unimo_bids.spaces.templates import Template

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Carried:
    """A run in a standard space.

    Attributes
    ----------
    template
        Of the space.
    pose
        How the run got there.
    grid
        Where it is sampled.
    boldref, mask
        ``(X, Y, Z)`` on that grid: the run's template image, and its brain, bool.
    through
        The anatomical image by which it got there, if another program had brought that there.
    """

    template: Template
    pose: SpacePose
    grid: Grid
    boldref: Float32
    mask: NDArray[np.bool_]
    through: str | None = None

    @property
    def space(self) -> Space:
        """Its name."""
        return self.template.space

    @property
    def warnings(self) -> list[str]:
        """A sentence for each doubt."""
        return [f"Output space {self.space}: {doubt}" for doubt in self.pose.doubts]

    def facts(self) -> dict[str, Any]:
        """As JSON can hold it."""
        pose = self.pose
        kind = "affine" if pose.field is None else "affine after a displacement field"
        rigid = self.space.name in OF_PERSON or self.through is not None
        return {
            "Template": self.template.image.name,
            "TransformType": "rigid" if rigid else kind,
            **({} if self.through is None else {"Through": self.through}),
            "MaskDice": round(pose.dice, 4),
            "MaskDiceAffine": round(pose.overlap, 4),
            "TemplateSeen": round(pose.seen, 4),
            "Shared": round(pose.shared, 4),
            "RunnerUp": round(pose.runner_up, 4),
            "Stretches": [round(float(s), 4) for s in pose.stretches],
            "Doubts": list(pose.doubts),
            **({} if pose.deformation is None else {"Deformation": pose.deformation.facts()}),
        }


def read_templates(
    spaces: Sequence[str],
    own: Sequence[str],
    age: float | None = None,
    anatomy: Anatomy | None = None,
) -> list[Template]:
    """Read the templates of named spaces, and those given as files."""
    if not (spaces or own):  # most calls: spared the import
        return []
    from unimo_bids.spaces.templates import anatomy_template, named_template, own_template

    def template(space: Space) -> Template:
        if space.name not in ANATOMIES:
            return named_template(space)
        if anatomy is None or anatomy.name != space.name:
            finding = f"no {space.name} image of this participant with a brain mask is at hand"
            remedy = "give results of fMRIPrep or NiBabies by --derivatives, or leave the space out"
            raise InputError(space.name, finding, remedy)
        return anatomy_template(anatomy)

    return [
        *(template(space) for space in parse_spaces(spaces) if space.name != AXES),
        *(own_template(given, age) for given in own),
    ]


def carry(
    templates: Sequence[Template],
    spaces: Sequence[str],
    motion: MotionEstimate,
    probability: NDArray[Any],
    grid: Grid,
    device: str,
    anatomy: Anatomy | None = None,
) -> list[Carried]:
    """Register a run to all its spaces, and resample its image and mask there.

    Parameters
    ----------
    templates
        Of the spaces; the axes of the head, if these are wanted, are those of the first.
    spaces
        As they were asked for.
    probability
        ``(X, Y, Z)`` the brain in the run's reference, soft or not.
    grid
        Of the run.
    anatomy
        Spaces that it was brought to are reached through it, unless its own pose is in doubt.
    """
    from unimo_bids.spaces.standard import Head, find_space, upright, upright_grid

    mask = np.asarray(probability, dtype=np.float32)
    run = Head(np.asarray(motion.template, dtype=np.float32), mask, grid)
    through_anatomy = _through(anatomy, run, device)
    poses: dict[str, SpacePose] = {}
    found = []
    for one in templates:
        target = one.space.target  # the way there is the same at any resolution
        if target not in poses:
            known = through_anatomy(one)
            poses[target] = known or find_space(one.head, run, device=device)
        through = anatomy.name if anatomy and poses[target].before is not None else None
        found.append(_carried(one, poses[target], one.grid(grid), run, through))
    if AXES in spaces:
        first = found[0]
        turn = upright(first.pose, run.center)
        onto = upright_grid(turn, run)
        found.append(_carried(replace(first.template, space=Space(AXES)), turn, onto, run))
    return found


def _through(
    anatomy: Anatomy | None, run: Head, device: str
) -> Callable[[Template], SpacePose | None]:
    """From a run to an anatomical image, or by way of it to what that leads to; else None."""
    from unimo_bids.files.composite import read_composite
    from unimo_bids.spaces.standard import find_space, through
    from unimo_bids.spaces.templates import anatomy_template

    @cache
    def there() -> SpacePose:
        assert anatomy is not None
        return find_space(anatomy_template(anatomy).head, run, same_head=True, device=device)

    def pose(template: Template) -> SpacePose | None:
        target = template.space.target
        if anatomy is None or target not in (anatomy.name, *anatomy.transforms):
            return None
        if target == anatomy.name:
            return there()
        if there().doubts:
            return None
        before = read_composite(anatomy.transforms[target])
        return through(there(), before, template.head, run)

    return pose


def _carried(
    template: Template, pose: SpacePose, onto: Grid, run: Head, through: str | None = None
) -> Carried:
    image, mask = (torch.from_numpy(np.asarray(part)) for part in (run.image, run.mask))
    boldref = resample(image, run.grid, pose.warp, onto=onto)
    brain = resample(mask, run.grid, pose.warp, onto=onto, interpolation="linear")
    return Carried(template, pose, onto, boldref.numpy(), brain.numpy() > 0.5, through)


def write_carried(
    series: Series,
    motion: MotionEstimate,
    carried: Carried,
    path: Path,
    *,
    slices: SliceResult | None = None,
    distortion: Distortion | None = None,
    interpolation: Interpolation = "cubic",
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _share: None,
    then: Then | None = None,
) -> None:
    """Write a series in a standard space, each frame read once from the raw one.

    Parameters
    ----------
    slices
        Frames are made from these where they were; None for one pose a frame.
    distortion
        What bends the head as it moves; not together with slices.
    then
        As of `correction.write_corrected`.
    """
    there: dict[str, Any] = {"onto": carried.grid, "space": carried.pose.warp}
    frames: Iterable[Float32]
    if slices is not None:
        frames = Rebuilt(series, series.grid, slices, motion, **there)
    else:
        frames = correct_series(
            series,
            series.affine,
            motion.poses,
            distortion=distortion,
            interpolation=interpolation,
            device=device,
            **there,
        )
    if then is not None:
        frames = then(iter(frames), motion.registered)
    with SeriesWriter(path, series, carried.grid, carried.template.code) as writer:
        for t, frame in enumerate(frames):
            writer.append(frame)
            progress((t + 1) / series.shape[3])


def write_images(series: Series, carried: Carried, boldref: Path, mask: Path, xfm: Path) -> None:
    """Write the run's image and mask in a standard space, and the transform to it."""
    for path, volume in ((boldref, carried.boldref), (mask, carried.mask.astype(np.uint8))):
        write_volume(path, volume, series, carried.grid, carried.template.code)
    # ITK resamples by where points of the wanted space are in the image, as poses do
    if xfm.suffix == ".h5":
        write_composite(xfm, carried.pose.matrix, carried.pose.field)
    else:
        write_itk(xfm, carried.pose.matrix[None])
