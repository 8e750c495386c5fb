"""Recipe of the brain extraction's two networks and its classifier.

*Find* and *segment* are trained at once on the same volumes (`scenes`): synthetic ones, whose
labels are exact, and real stacks. *Segment* sees, beside every brain, a place that *find* takes for
one at that moment, or any place. At last *recognise* is fitted to all that both outline in volumes
that they have not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from unimo_bids.brain.finder import BrainFinder
from unimo_bids.brain.mask import ball_radius
from unimo_bids.brain.network import (
    FIND_MM,
    WINDOW,
    BrainNetworks,
    Recognise,
    normalised,
    segment_box,
)
from unimo_bids.brain.outline import Outline
from unimo_bids.brain.segmentation import all_outlines
from unimo_bids.brain.thresholds import CANDIDATES
from unimo_bids.markdown import markdown_table
from unimo_bids.networks.weights import quick_arithmetic
from unimo_bids.spatial.boxes import Box
from unimo_bids.training.recipe import Recipe, by_confidence
from unimo_bids.training.scanner import centroid
from unimo_bids.training.scenes import Example, Scenery, Scenes
from unimo_bids.words import BrainPart

_VALIDATION_SEED = 1_000_003  # of volumes that no training draws
_FOUND = 0.5  # Dice of a brain that was found
_LEVELS = (0.5, 0.6, 0.8, 0.9)  # of confidence, that masks are told apart by

# how far off the brain the segmented box is, each axis, and its width, relative to its radius
_OFF_CENTER, _OFF_WIDTH = 0.2, 0.15
_RADII_MM = (20.0, 75.0)  # of the boxes where there is no brain
_ANYWHERE = 0.4  # of the other places; the rest are those that *find* takes for a brain
_TAKEN = 0.05  # probability from which *find* takes a place for a brain
_FAR = 1.2  # of the brain's radius from its centre, what is outlined there is something else
# Of *recognise*: volumes, the seed of their draws, penalty on the squares of what changes
_LESSONS, _LESSON_SEED, _PENALTY = 110, 1_000_033, 100.0
_WITHOUT = 2  # one in so many of these volumes has no brain, besides those drawn without one
_WRONG, _RIGHT = 0.5, 0.8  # Dice of what is no brain and what is one; between, both a little


@dataclass(frozen=True)
class Batch:
    """Examples of one training step.

    `windows`: what *find* sees of them: the number of the volume, and where.
    """

    examples: list[Example]
    windows: list[tuple[int, Box]]
    rng: np.random.Generator

    def seen(self, boxes: Sequence[tuple[int, Box]]) -> tuple[Tensor, Tensor]:
        """Images and brains ``(B, 1, X, Y, Z)`` in boxes of its volumes."""
        pairs = [_in_box(self.examples[number], box) for number, box in boxes]
        images, brains = (torch.stack(part)[:, None] for part in zip(*pairs, strict=True))
        return images, brains


@dataclass(frozen=True)
class Lessons:
    """Training data of *recognise*.

    Attributes
    ----------
    features
        ``(N, F)`` of outlines.
    right
        ``(N,)`` how right they are, 0 to 1.
    fetuses
        Whose stack each was drawn in; empty for those in none.
    """

    features: Tensor
    right: Tensor
    fetuses: tuple[str, ...]

    def without(self, fetus: str) -> Lessons:
        """Leave out all that was drawn in stacks of a fetus."""
        kept = [row for row, of in enumerate(self.fetuses) if of != fetus]
        return Lessons(self.features[kept], self.right[kept], tuple(self.fetuses[r] for r in kept))


def validate(trained: BrainNetworks, scenes: Scenes, count: int) -> str:
    """Judge networks on volumes of held-back anatomies; Markdown tables by scenery and confidence.

    As the program goes by them alone (`extract_brain` with ``unimo``). Size: median volume of right
    masks relative to the true ones; where it is not 1, `OUTLINES.unborn` has to be measured anew.
    """
    seen: dict[str, list[tuple[float, float, bool, bool]]] = {}
    trusted: list[tuple[float, bool]] = []  # confidence of each mask, and whether it is right
    for number in range(count):
        example = scenes.draw(np.random.default_rng([_VALIDATION_SEED, number]))
        whose = None if example.scenery == "none" else example.scenery
        finder = BrainFinder(np.diag([*example.sizes, 1.0]), str(scenes.device), trained)
        volume = example.image.cpu().numpy()
        found = finder.judged(finder.find(volume, whose), volume, whose)
        truth = example.brain.cpu().numpy() > 0.5
        inside = np.zeros_like(truth) if found is None else found.mask
        dice = 2 * (inside & truth).sum() / max(inside.sum() + truth.sum(), 1)
        kind = "no brain" if whose is None else f"{whose}, {_in_view(truth)}"
        kind += ", among shapes" if example.among_shapes else ""
        volume = inside.sum() / max(truth.sum(), 1)
        seen.setdefault(kind, []).append(
            (float(dice), float(volume), found is not None, bool(found and found.doubts))
        )
        if found is not None:
            trusted.append((found.candidates[0].confidence, dice > _FOUND))
    shares = ("found", "doubted", "wrong, no doubt")
    rows = [["brain", "volumes", "Dice, median", "10th percentile", "size", *shares]]
    for kind, values in sorted(seen.items()):
        dices, sizes, masked, doubted = (np.array(column) for column in zip(*values, strict=True))
        right = dices > _FOUND
        quantiles = [f"{np.percentile(dices, q):.3f}" for q in (50, 10)]
        marks = (right, doubted, masked & ~right & ~doubted)
        percent = [f"{100 * mark.mean():.0f} %" for mark in marks]
        size = f"{np.median(sizes[right]):.2f}" if right.any() else "–"
        rows.append([kind, str(len(values)), *quantiles, size, *percent])
    return f"{markdown_table(rows)}\n{by_confidence('masks', trusted, _LEVELS)}"


def _in_view(brain: np.ndarray) -> str:
    """Whether the field of view cuts a brain."""
    edges = sum(brain.take(edge, axis).sum() for axis in range(3) for edge in (0, -1))
    return "cut" if edges or not brain.any() else "whole"


def draw(scenes: Scenes, batch: int, rng: np.random.Generator) -> Batch:
    """Volumes, each with a window about its brain and one anywhere."""
    examples = [scenes.draw(rng) for _ in range(batch)]
    windows = [
        (number, _window(one, rng, about))
        for number, one in enumerate(examples)
        for about in ([True, False] if (_room(one) > 0).any() else [True])
    ]
    return Batch(examples, windows, rng)


def losses(
    trained: BrainNetworks, batch: Batch, only: BrainPart | None = None
) -> dict[str, Tensor]:
    """Losses of both networks, or of `only` one."""
    images, brains = batch.seen(batch.windows)
    with quick_arithmetic(images.device), torch.set_grad_enabled(only != "segment"):
        found = trained.find(images).float()
    of_find = {} if only == "segment" else {"find": segmentation_loss(found, brains)}
    if only == "find":
        return of_find
    boxes = [(number, _segment_box(one, batch.rng)) for number, one in enumerate(batch.examples)]
    boxes += _elsewhere(batch, found.detach().sigmoid().cpu())
    images, inside = batch.seen(boxes)
    with quick_arithmetic(images.device):
        drawn = trained.segment(images).float()
    return of_find | {"segment": segmentation_loss(drawn, inside)}


def teach(trained: BrainNetworks, scenes: Scenes) -> None:
    """Fit *recognise* to what the two others outline in volumes of these scenes."""
    learned = lessons(trained, scenes, _LESSONS)
    if learned.fetuses:  # networks that have learned nothing outline nothing
        fit(trained.recognise, learned)


def lessons(trained: BrainNetworks, scenes: Scenes, volumes: int) -> Lessons:
    """Outlines by the networks in so many volumes, every other one without a brain."""
    features, right = [torch.empty(0, trained.recognise.mean.numel())], list[float]()
    fetuses: list[str] = []
    for number in range(volumes):
        scenery: Scenery | None = "none" if number % _WITHOUT == 0 else None
        example = scenes.draw(np.random.default_rng([_LESSON_SEED, number]), scenery)
        for outline in all_outlines(example.image, example.sizes, trained):
            features.append(outline.features[None])
            right.append(_rightness(example, outline))
            fetuses.append(example.fetus)
    found = torch.cat(features).to(scenes.device), torch.tensor(right, device=scenes.device)
    return Lessons(*found, tuple(fetuses))


def fit(recognise: Recognise, learned: Lessons) -> None:
    """Logistic regression, with a penalty on what it changes of the weights there are.

    So what was learned from other volumes is kept, as far as these do not say otherwise.
    """
    features, right = learned.features, learned.right
    recognise.rescale(features.mean(dim=0), features.std(dim=0).clamp(min=1e-3))
    head = recognise.head.requires_grad_(True)
    before = head.weight.detach().clone()
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        penalty = _PENALTY * (head.weight - before).square().sum() / len(features)
        total = binary_cross_entropy_with_logits(recognise(features), right) + penalty
        total.backward()
        return total

    optimiser.step(loss)


def segmentation_loss(logits: Tensor, brain: Tensor) -> Tensor:
    """Cross-entropy, and one minus the soft Dice coefficient; both ``(B, 1, X, Y, Z)``."""
    probability = logits.sigmoid()
    both = (probability * brain).sum((1, 2, 3, 4))
    either = (probability + brain).sum((1, 2, 3, 4))
    dice = (2 * both + 50) / (either + 50)  # 50 voxels: no brain is right if little is found
    return binary_cross_entropy_with_logits(logits, brain) + (1 - dice).mean()


def _in_box(example: Example, box: Box) -> tuple[Tensor, Tensor]:
    """Image and brain as a network sees them in a box."""
    image = box.read(example.image, example.sizes)
    return normalised(image), box.read(example.brain, example.sizes).clamp(0, 1)


def _middle(example: Example) -> np.ndarray:
    """Middle of the field of view, mm from the first voxel."""
    return (np.array(example.image.shape) - 1) * example.sizes / 2


def _room(example: Example) -> np.ndarray:
    """How far a window's middle may be off the field of view's, mm along each axis, ``(3,)``."""
    return np.maximum(_middle(example) - FIND_MM * WINDOW / 2, 0)


def _window(example: Example, rng: np.random.Generator, about: bool) -> Box:
    """A window of *find* that the field of view fills if it can: about the brain, or anywhere."""
    room, middle = _room(example), _middle(example)
    center = middle + rng.uniform(-1, 1, 3) * room
    if about:
        center = np.clip(
            centroid(example.brain, example.sizes) + rng.uniform(-110, 110, 3),
            middle - room,
            middle + room,
        )
    center += rng.uniform(-FIND_MM / 2, FIND_MM / 2, 3)
    return Box(FIND_MM, (WINDOW,) * 3, (float(center[0]), float(center[1]), float(center[2])))


def _elsewhere(batch: Batch, found: Tensor) -> list[tuple[int, Box]]:
    """Boxes where there is no brain: where *find* sees one most clearly, or anywhere."""
    boxes = []
    for number, example in enumerate(batch.examples):
        radius, center = _radius(example), centroid(example.brain, example.sizes)
        anywhere = batch.rng.uniform(-1, 1, 3) * _middle(example) + _middle(example)
        place = None
        if batch.rng.random() > _ANYWHERE:
            windows = zip(batch.windows, found[:, 0].numpy(), strict=True)
            seen = [(window, answer) for (of, window), answer in windows if of == number]
            place = _likest(seen, center, _FAR * radius)
        if place is None and np.linalg.norm(anywhere - center) > _FAR * radius:
            place = anywhere
        if place is not None:
            size = radius * batch.rng.uniform(0.6, 1.4) if radius else batch.rng.uniform(*_RADII_MM)
            boxes.append((number, segment_box(place, size)))
    return boxes


def _likest(
    seen: Sequence[tuple[Box, NDArray[np.float32]]], center: NDArray[np.float64], far: float
) -> NDArray[np.float64] | None:
    """The place far from a centre that *find* most takes for a brain, if any."""
    best, most = None, _TAKEN
    for window, probability in seen:
        axes = [window.positions(a) - center[a] for a in range(3)]
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        there = np.where(x**2 + y**2 + z**2 > far**2, probability, 0)
        if there.max() > most:
            most = float(there.max())
            best = window.place(np.array(np.unravel_index(there.argmax(), there.shape)))
    return best


def _rightness(example: Example, outline: Outline) -> float:
    """1 for an outline of the brain, 0 for one of something else."""
    brain = outline.box.read(example.brain, example.sizes).cpu().numpy() > 0.5
    voxel = outline.box.spacing**3 / 1000
    both = float((brain & outline.inside).sum()) * voxel
    dice = 2 * both / (outline.region.volume + max(_volume(example), float(brain.sum()) * voxel))
    return float(np.clip((dice - _WRONG) / (_RIGHT - _WRONG), 0, 1))


def _volume(example: Example) -> float:
    """Volume of the brain, ml."""
    return float(example.brain.sum()) * float(np.prod(example.sizes)) / 1000


def _radius(example: Example) -> float:
    """Radius of a ball of the brain's volume, mm; 0 if hardly any brain is in view."""
    volume = _volume(example)
    return ball_radius(volume) if volume >= CANDIDATES.least_ml else 0.0


def _segment_box(example: Example, rng: np.random.Generator) -> Box:
    radius = _radius(example)
    off = _OFF_CENTER * radius * rng.standard_normal(3)
    if not radius:
        radius = rng.uniform(*_RADII_MM)
        off = rng.uniform(-1, 1, 3) * _middle(example)
    return segment_box(
        centroid(example.brain, example.sizes) + off,
        radius * np.exp(_OFF_WIDTH * rng.standard_normal()),
    )


_ABOUT = """# Brain extraction: find, segment, recognise

Two U-Nets and a logistic classifier (`unimo_bids.brain.network`). Synthetic volumes: SynthSeg's
adult label maps (Apache-2.0), or nilearn's MNI152 maps without them; fetal label maps of Fidon et
al. 2021 (CC0); procedural fetal heads and uteri. Real stacks, if there are any in the lists below:
whole uteri of Hoffmann et al. 2021 (BSD-2, `ep2d`), outlined by the weights before; T2w stacks of
the MIAL super-resolution toolkit with their manual masks (BSD-3, `mial`). Volumes of held-back
anatomies, all networks together, are in the table below.
"""

RECIPE = Recipe(
    name="brain",
    network=BrainNetworks,
    ground=Scenes,
    draw=draw,
    losses=losses,
    finish=teach,
    validate=validate,
    about=lambda _network: _ABOUT,
    examples="volumes",
)
