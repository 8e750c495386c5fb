"""Recipe of the pose network: pairs of scans (`pairs`) whose pose is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from unimo_bids.markdown import markdown_table
from unimo_bids.networks.alignment import Representation, align, slerp
from unimo_bids.networks.pose import RIGHT_DEG, VOXELS, WIDTH, PoseNetwork, Seen, Volumes, seen
from unimo_bids.networks.weights import quick_arithmetic
from unimo_bids.spatial import rigid
from unimo_bids.spatial.interpolation import sample_linear
from unimo_bids.training.pairs import Pair, Pairs
from unimo_bids.training.recipe import Recipe, by_confidence
from unimo_bids.words import Fusion

_VALIDATION_SEED, _CALIBRATION_SEED = 1_000_033, 1_000_037  # of pairs that no training draws
_CALIBRATION = 400  # pairs that the confidence is fitted to
_POINTS = 64  # of a head, whose displacement is the loss
_NEAR = 0.1  # radii: further off, the loss grows linearly
_LEVELS = (0.2, 0.5, 0.8, 0.95)  # of confidence, that pairs are told apart by
_LEAST_SPREAD, _MOST_SPREAD = 0.35, 1.1  # of key points, radii


def draw(pairs: Pairs, batch: int, rng: np.random.Generator) -> tuple[Seen, Tensor, Tensor]:
    """Volumes of a batch, fixed ones before moving ones; poses; which pairs have masks."""
    drawn = [pairs.draw(rng) for _ in range(batch)]
    return (
        prepared(drawn),
        torch.stack([p.pose for p in drawn]),
        torch.tensor([p.masked for p in drawn]),
    )


def prepared(drawn: Sequence[Pair]) -> Seen:
    """Volumes of pairs as the network reads them, fixed ones before moving ones.

    Shapes of pairs without masks are those of balls.
    """
    both = [[(p.images[side], p.masks[side]) for p in drawn] for side in (0, 1)]
    images = torch.stack([image for side in both for image, _ in side])[:, None]
    masks = torch.stack([mask for side in both for _, mask in side])[:, None]
    masked = torch.tensor([p.masked for p in drawn] * 2)
    with_masks, without = seen(images, masks), seen(images, None)
    pick = masked[:, None, None, None, None].to(images.device)
    return Seen(
        torch.where(pick, with_masks.image, without.image),
        torch.where(pick, with_masks.mask, without.mask),
        with_masks.distance,
    )


def losses(network: PoseNetwork, batch: tuple[Seen, Tensor, Tensor]) -> dict[str, Tensor]:
    """How far poses by image, by shape and by both are off, and how far their terms are."""
    volumes, poses, masked = batch
    poses, masked = poses.to(volumes.image), masked.to(volumes.image)
    with quick_arithmetic(volumes.image.device):
        found = network(volumes)
    assert found.shape is not None
    many = len(poses)
    fixed, moving = found[:many], found[many:]
    every = torch.ones_like(masked)
    by_image = align(fixed.image, moving.image).poses
    by_shape = align(fixed.shape, moving.shape).poses
    shares, share = network.information(), network.shares[1].sigmoid()
    fused = align(fixed.fused(shares), moving.fused(shares)).poses
    between = slerp(by_image.detach(), by_shape.detach(), share)
    return {
        "image": displacement(by_image, poses, every),
        "shape": 0.5 * displacement(by_shape, poses, masked),
        "fused": displacement(fused, poses, masked),
        "slerp": 0.2 * displacement(between, poses, masked),
        "terms": 0.6 * _terms(fixed.image, moving.image, poses, every)
        + 0.3 * _terms(fixed.shape, moving.shape, poses, masked),
    }


def displacement(found: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Of points in a ball, radii: quadratic near the truth, then linear; mean of what counts."""
    points = torch.randn(_POINTS, 3, generator=torch.Generator().manual_seed(0))
    points = (points / points.norm(dim=-1, keepdim=True)).to(found)
    away = (rigid.transform(found, points) - rigid.transform(truth, points)).norm(dim=-1)
    each = smooth_l1_loss(away, torch.zeros_like(away), beta=_NEAR, reduction="none").mean(-1)
    return (counts * each).sum() / counts.sum().clamp(min=1)


def _terms(fixed: Representation, moving: Representation, truth: Tensor, counts: Tensor) -> Tensor:
    """How far each key point and vector is from where the pose carries it; and their spread."""
    points = (moving.points - rigid.transform(truth, fixed.points)).square().sum(-1).mean(-1)
    spread = (fixed.points - fixed.points.mean(1, keepdim=True)).square().sum(-1).mean(-1)
    turned = fixed.vectors @ truth[:, :3, :3].mT
    length = (fixed.vectors.square() + moving.vectors.square()).sum(-1).clamp(min=1e-6)
    vectors = ((moving.vectors - turned).square().sum(-1) / length).mean(-1)
    width = spread.clamp(min=1e-6).sqrt()
    outside = (_LEAST_SPREAD - width).relu() + (width - _MOST_SPREAD).relu()
    each = points / spread.clamp(min=1e-3) + vectors + 10 * outside
    return (counts * each).sum() / counts.sum().clamp(min=1)


def calibrate(network: PoseNetwork, pairs: Pairs, count: int) -> None:
    """Fit the confidence, as a function of the evidence, to pairs that were not trained on."""
    found, right = [], []
    for number in range(count):
        pair = pairs.draw(np.random.default_rng([_CALIBRATION_SEED, number]))
        evidence, pose = _evidence(network, pair)
        found.append(evidence)
        right.append(_angle(pose, pair.pose) < RIGHT_DEG)
    evidence = torch.cat(found).cpu().double()
    truth = torch.tensor(right).double()
    mean, width = evidence.mean(0), evidence.std(0)
    design = torch.cat([(evidence - mean) / width, torch.ones(len(evidence), 1).double()], dim=1)
    weights = torch.zeros(4).double()
    for _ in range(50):  # Newton's, a little regularised
        chance = (design @ weights).sigmoid()
        slope = design.T @ (chance - truth) + 0.1 * weights
        curvature = (design.T * (chance * (1 - chance))) @ design + 0.1 * torch.eye(4).double()
        weights -= torch.linalg.solve(curvature, slope)
    with torch.no_grad():
        network.odds.weight.copy_((weights[:3] / width)[None])
        network.odds.bias.copy_(weights[3:] - (weights[:3] * mean / width).sum())


def _evidence(network: PoseNetwork, pair: Pair) -> tuple[Tensor, Tensor]:
    fixed, moving = _read(network, pair)
    with torch.inference_mode():
        shares = network.information()
        found = align(fixed.fused(shares), moving.fused(shares))
    return found.evidence, found.poses[0]


def _read(network: PoseNetwork, pair: Pair) -> tuple[Volumes, Volumes]:
    """Representations of both volumes, as when the network is used."""
    images, masks = pair.images[:, None], pair.masks[:, None] if pair.masked else None
    volumes = seen(images, masks)
    with torch.inference_mode(), quick_arithmetic(images.device):
        found = network(volumes)
    return found[:1], found[1:]


def _angle(found: Tensor, truth: Tensor) -> float:
    """Angle between two rotations, degrees."""
    return float(rigid.rotation_angle(found.double().cpu(), truth.cpu()))


# what is validated: what is scanned, most degrees and mm of motion, and what is special
_TRIALS: dict[str, dict[str, Any]] = {
    "fetal, 10 mm 5°": {"what": "fetal", "turn": 5, "shift": 10},
    "fetal, 20 mm 10°": {"what": "fetal", "turn": 10, "shift": 20},
    "fetal, 30 mm 20°": {"what": "fetal", "turn": 20, "shift": 30},
    "fetal, any rotation": {"what": "fetal", "turn": 180, "shift": 30},
    "fetal, any rotation, without artefacts": {
        **{"what": "fetal", "turn": 180, "shift": 30},
        "clean": True,
    },
    "fetal, any rotation, other contrast": {
        **{"what": "fetal", "turn": 180, "shift": 30},
        "other_contrast": True,
    },
    "fetal, any rotation, no mask": {
        **{"what": "fetal", "turn": 180, "shift": 30},
        "masked": False,
    },
    "adult, any rotation": {"what": "adult", "turn": 180, "shift": 30},
    "organ, any rotation": {"what": "organ", "turn": 180, "shift": 30},
}
_FUSIONS: tuple[Fusion, ...] = ("image", "shape", "information", "slerp")


def validate(network: PoseNetwork, pairs: Pairs, count: int) -> str:
    """Judge a network on pairs of held-back anatomies; Markdown tables."""
    columns = ("pairs", "by", "off, mm, median", "95th percentile", "middle off, mm")
    rows = [[*columns, "degrees, median", "within 15°", "Dice", "at the truth"]]
    believed: list[tuple[float, bool]] = []
    for title, options in _TRIALS.items():
        trial = {"clean": False, "masked": True, "other_contrast": False} | options
        judged: dict[str, list[tuple[float, ...]]] = {}
        for number in range(count):
            pair = pairs.draw(np.random.default_rng([_VALIDATION_SEED, number]), **trial)
            volumes = _read(network, pair)
            for way, (poses, confidence) in _answers(network, *volumes).items():
                angle = _angle(poses[0], pair.pose)
                values = (*_off(poses[0], pair), angle, *_overlaps(poses[0], pair))
                judged.setdefault(way, []).append(values)
                if way == "information" or not pair.masked:
                    believed.append((float(confidence), angle < RIGHT_DEG))
        for way, found in judged.items():
            mm, middle, angles, dice, best = np.array(found).T
            off = f"{np.median(mm):.2f}", f"{np.percentile(mm, 95):.1f}", f"{np.median(middle):.2f}"
            right = f"{np.median(angles):.2f}", f"{100 * (angles < RIGHT_DEG).mean():.0f} %"
            overlap = (f"{one.mean():.3f}" if trial["masked"] else "" for one in (dice, best))
            rows.append([title, way, *off, *right, *overlap])
    return f"{markdown_table(rows)}\n{by_confidence('pairs', believed, _LEVELS)}"


@torch.inference_mode()
def _answers(
    network: PoseNetwork, fixed: Volumes, moving: Volumes
) -> dict[str, tuple[Tensor, Tensor]]:
    """Poses and confidence by each kind of fusion, and by points and vectors alone."""
    if fixed.shape is None:
        return {"image": network.align(fixed, moving, "image")}
    found: dict[str, tuple[Tensor, Tensor]] = {
        fusion: network.align(fixed, moving, fusion) for fusion in _FUSIONS
    }
    shares = network.information()
    both = [volumes.fused(shares) for volumes in (fixed, moving)]
    many = both[0].points.shape[1]
    alone = {"points alone": slice(many, None), "vectors alone": slice(0, many)}
    for way, others in alone.items():
        kept = [replace(one, weights=one.weights.clone()) for one in both]
        for one in kept:
            one.weights[:, others] *= 1e-4
        by_part = align(kept[0], kept[1])
        found[way] = by_part.poses, network.confidence(by_part)
    return found


def _off(found: Tensor, pair: Pair) -> tuple[float, float]:
    """Mean displacement of points in a ball as large as the brain, and that of its middle, mm."""
    points = torch.randn(_POINTS, 3, generator=torch.Generator().manual_seed(0)).double()
    points *= (torch.linspace(0.2, 1, _POINTS) / points.norm(dim=-1))[:, None]
    points[0] = 0
    away = rigid.transform(found.double().cpu(), points) - rigid.transform(pair.pose.cpu(), points)
    far = pair.radius * away.norm(dim=-1)
    return float(far[1:].mean()), float(far[0])


def _overlaps(found: Tensor, pair: Pair) -> tuple[float, float]:
    """Dice of the fixed mask with the moving one carried onto it: as found, and by the truth."""
    if not pair.masked:
        return np.nan, np.nan
    fixed, moving = pair.masks.cpu()
    line = WIDTH * (torch.arange(VOXELS) - (VOXELS - 1) / 2) / VOXELS
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1).reshape(-1, 3)
    shares = []
    for pose in (found.cpu(), pair.pose.cpu()):
        indices = rigid.transform(pose.float(), points) / (WIDTH / VOXELS) + (VOXELS - 1) / 2
        carried = sample_linear(moving[None, None], indices[None]).reshape(fixed.shape)
        both = 2 * torch.minimum(fixed, carried).sum() / (fixed.sum() + carried.sum())
        shares.append(float(both))
    return shares[0], shares[1]


def _about(network: PoseNetwork) -> str:
    counts = [sum(p.numel() for p in part.parameters()) for part in (network.image, network.shape)]
    by_information, by_slerp = network.shares.sigmoid().tolist()
    without = "".join(f" Trained without {part}." for part in network.image.without)
    return f"""# Rigid pose from image and shape

Equivariant encoders (`unimo_bids.networks.pose`) of image ({counts[0]} weights) and shape
({counts[1]}). Shape's part in the fusion: {by_information:.2f} by information, {by_slerp:.2f} by
slerp.{without} Synthetic pairs only (`unimo_bids.training.pairs`): SynthSeg's adult label maps
(Apache-2.0), or nilearn's MNI152 maps without them; fetal label maps of Fidon et al. 2021 (CC0);
procedural fetal heads and organs. In the table: pairs of held-back anatomies with independent
artefacts, one pass of the network and nothing else; displacement is the mean over a ball as
large as the brain. What votes, vectors and more anatomies are worth: docs/benchmarks.md.
"""


RECIPE = Recipe(
    name="pose",
    network=PoseNetwork,
    ground=Pairs,
    draw=draw,
    losses=losses,
    finish=lambda network, pairs: calibrate(network, pairs, _CALIBRATION),
    validate=validate,
    about=_about,
    examples="pairs",
)
