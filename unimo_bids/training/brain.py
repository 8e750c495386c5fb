"""Recipe of the brain extraction's two networks.

Both are trained at once on the same synthetic volumes (`scenes`), with labels that are exact.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from unimo_bids.brain.finding import LEAST_ML
from unimo_bids.brain.mask import ball_radius
from unimo_bids.brain.network import (
    FIND_MM,
    FIND_VOXELS,
    BrainNetworks,
    normalised,
    segment_box,
)
from unimo_bids.brain.unimo import BrainFinder
from unimo_bids.spatial.boxes import Box
from unimo_bids.training.recipe import Recipe
from unimo_bids.training.scenes import Example, Scenes

_VALIDATION_SEED = 1_000_003  # of volumes that no training draws
_FOUND = 0.5  # Dice of a brain that was found

Batch = dict[str, tuple[Tensor, Tensor]]  # images and brains, by network

# how far off the brain the segmented box is, each axis, and its width, relative to its radius
_OFF_CENTER, _OFF_WIDTH = 0.2, 0.15
_RADII_MM = (20.0, 75.0)  # of the boxes where there is no brain


def validate(trained: BrainNetworks, scenes: Scenes, count: int) -> str:
    """Judge networks on volumes of held-back anatomies; a Markdown table by scenery."""
    seen: dict[str, list[tuple[float, bool, bool]]] = {}
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
        seen.setdefault(kind, []).append(
            (float(dice), found is not None, bool(found and found.doubts))
        )
    rows = [
        "| brain | volumes | Dice, median | 10th percentile | found | doubted | wrong, no doubt |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, values in sorted(seen.items()):
        dices, masked, doubted = (np.array(column) for column in zip(*values, strict=True))
        right = dices > _FOUND
        shares = [right, doubted, masked & ~right & ~doubted]
        rows.append(
            f"| {kind} | {len(values)} | {np.median(dices):.3f} | {np.percentile(dices, 10):.3f} | "
            + " | ".join(f"{100 * share.mean():.0f} %" for share in shares)
            + " |"
        )
    return "\n".join(rows)


def _in_view(brain: np.ndarray) -> str:
    """Whether the field of view cuts a brain."""
    edges = sum(brain.take(edge, axis).sum() for axis in range(3) for edge in (0, -1))
    return "cut" if edges or not brain.any() else "whole"


def draw(scenes: Scenes, batch: int, rng: np.random.Generator) -> Batch:
    """Images and brains ``(B, 1, X, Y, Z)`` for each network; one rendering serves both."""
    examples = [scenes.draw(rng) for _ in range(batch)]
    boxes = {"find": _find_box, "segment": _segment_box}
    seen = {name: [_seen(one, box(one, rng)) for one in examples] for name, box in boxes.items()}
    return {
        name: (
            torch.stack([a for a, _ in pairs])[:, None],
            torch.stack([b for _, b in pairs])[:, None],
        )
        for name, pairs in seen.items()
    }


def losses(trained: BrainNetworks, batch: Batch) -> dict[str, Tensor]:
    """How far both networks are from the truth."""
    found = {}
    for name, (images, brains) in batch.items():
        with torch.autocast(images.device.type, torch.bfloat16):
            logits = getattr(trained, name)(images)
        found[name] = segmentation_loss(logits.float(), brains)
    return found


def segmentation_loss(logits: Tensor, brain: Tensor) -> Tensor:
    """Cross-entropy, and one minus the soft Dice coefficient; both ``(B, 1, X, Y, Z)``."""
    probability = logits.sigmoid()
    both = (probability * brain).sum((1, 2, 3, 4))
    either = (probability + brain).sum((1, 2, 3, 4))
    dice = (2 * both + 50) / (either + 50)  # 50 voxels: no brain is right if little is found
    return binary_cross_entropy_with_logits(logits, brain) + (1 - dice).mean()


def _seen(example: Example, box: Box) -> tuple[Tensor, Tensor]:
    """Image and brain as a network sees them in a box."""
    image = box.read(example.image, example.sizes)
    return normalised(image), box.read(example.brain, example.sizes).clamp(0, 1)


def _middle(example: Example) -> np.ndarray:
    """Of the field of view, mm from the first voxel."""
    return (np.array(example.image.shape) - 1) * example.sizes / 2


def _center(example: Example) -> np.ndarray:
    """Of the brain in view, mm from the first voxel; of the field of view if there is none."""
    total = float(example.brain.sum())
    if total < 1:
        return _middle(example)
    marginals = [example.brain.sum(tuple(b for b in range(3) if b != a)) for a in range(3)]
    places = [float((m.cpu() * torch.arange(len(m))).sum()) / total for m in marginals]
    return np.array(places) * example.sizes


def _find_box(example: Example, rng: np.random.Generator) -> Box:
    """All of the field of view, or as much of it as holds the brain where it is larger."""
    half = FIND_MM * FIND_VOXELS / 2
    middle = _middle(example)
    room = np.maximum(middle - half, 0)
    center = np.clip(_center(example) + rng.uniform(-60, 60, 3), middle - room, middle + room)
    center += rng.uniform(-FIND_MM / 2, FIND_MM / 2, 3)
    return Box(FIND_MM, (FIND_VOXELS,) * 3, (float(center[0]), float(center[1]), float(center[2])))


def _segment_box(example: Example, rng: np.random.Generator) -> Box:
    volume = float(example.brain.sum()) * float(np.prod(example.sizes)) / 1000
    radius = ball_radius(volume)
    off = _OFF_CENTER * radius * rng.standard_normal(3)
    if volume < LEAST_ML:
        radius = rng.uniform(*_RADII_MM)
        off = rng.uniform(-1, 1, 3) * _middle(example)
    return segment_box(_center(example) + off, radius * np.exp(_OFF_WIDTH * rng.standard_normal()))


_ABOUT = """# Brain extraction: find and segment

Two U-Nets (`unimo_bids.brain.network`). Synthetic volumes only: SynthSeg's adult label maps
(Apache-2.0), or nilearn's MNI152 maps without them; fetal label maps of Fidon et al. 2021 (CC0);
procedural fetal heads and uteri. Volumes of held-back anatomies, find and segment together, are in
the table below.
"""

RECIPE = Recipe(
    name="brain",
    network=BrainNetworks,
    ground=Scenes,
    draw=draw,
    losses=losses,
    finish=lambda _network, _scenes: None,
    validate=validate,
    about=lambda _network: _ABOUT,
    examples="volumes",
)
