"""The head through time: every frame's pose draws on the whole series.

The pose network sums up every frame; what frames agree on gives each a pose (`measuring`); a smooth
way through them, corrected by attention, gives poses at all times (`temporal`): at the frames, also
torn ones, in gaps, and ahead.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.estimate import Tracking
from unimo_bids.motion.quality import Predicted
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.tracking import follow_images, similarity_at
from unimo_bids.networks.alignment import Representation
from unimo_bids.networks.measuring import DISAGREEMENT, EVIDENCE, Measured, measure, stacked
from unimo_bids.networks.temporal import Known, TemporalNetwork, through
from unimo_bids.networks.weights import FOLDER, load_weights
from unimo_bids.registration import pose_finder
from unimo_bids.spatial import rigid

WEIGHTS = "track.safetensors"
FEWEST = 4  # poses that a bridge has to stand on, and what is foretold


@cache
def temporal_network() -> TemporalNetwork:
    """The shipped network, loaded once; it runs on the CPU."""
    network = TemporalNetwork()
    load_weights(network, FOLDER / WEIGHTS)
    return network


def track_by_attention(scan: Scan) -> Tracking:
    """Poses by the pose network and all that comes before and after each frame.

    Frames are then registered from there, as a search's are; without refinement they stay as they
    are.
    """
    found = watched(scan)
    if scan.settings.refine:
        starts = found.poses.to(scan.frames.device)
        track = follow_images(scan, scan.reference_image[None], starts)
        return Tracking(
            scan.reference,
            track.poses.cpu().numpy(),
            track.similarity,
            track.searched,
            covariance=found.covariance.numpy(),
            predicted=found.poses.numpy(),
        )
    similarity = similarity_at(scan, found.poses)
    searched = np.zeros(scan.frames.count, dtype=bool)
    return Tracking(
        scan.reference,
        found.poses.numpy(),
        similarity,
        searched,
        covariance=found.covariance.numpy(),
    )


def watched(scan: Scan) -> Predicted:
    """Poses of all frames from what the pose network sees in those that hold an image."""
    usable = np.flatnonzero(scan.usable)
    looks = scan.guesses.looks(usable)
    place = int(np.searchsorted(usable, scan.reference))
    share = float(pose_finder.pose_network(str(scan.frames.device)).information()[1])
    measured = measure(_in_world(looks), place, scan.head.radius, share)
    everything = known(measured, usable, scan.times, scan.head.radius)
    return _relative(everything, measured.center, scan.reference)


def _in_world(looks: list[pose_finder.Representation]) -> Representation:
    """Representations of F volumes as one, in the world, mm."""
    parts = []
    for look in looks:
        both, frame = stacked(look.volumes), look.frame
        axes = frame[:3, :3] / torch.linalg.det(frame[:3, :3]) ** (1 / 3)
        points = rigid.transform(frame, both.points.to(frame))
        parts.append((points, both.vectors.to(frame) @ axes.mT, both.weights.to(frame)))
    return Representation(*(torch.cat(one).cpu() for one in zip(*parts, strict=True)))


def known(measured: Measured, frames: NDArray[np.int_], times: Tensor, radius: float) -> Known:
    """What is known at all times, measured at some of them."""
    rotation, place = _about(measured.poses, measured.center)
    many = len(times)

    def at_all(values: Tensor, elsewhere: Tensor) -> Tensor:
        out = elsewhere.repeat(many, *[1] * (values.ndim - 1)).to(values)
        out[frames.tolist()] = values
        return out[None]

    seen = torch.zeros(many, dtype=torch.bool)
    seen[frames.tolist()] = True
    return Known(
        rotation=at_all(rotation, torch.eye(3)[None]),
        place=at_all(place, torch.zeros(1, 3)),
        evidence=at_all(measured.evidence, torch.zeros(1, EVIDENCE)),
        disagreement=at_all(measured.disagreement, torch.zeros(1, DISAGREEMENT, 3)),
        deviation=torch.zeros(1, many, 2, dtype=torch.float64),
        measured=seen[None],
        times=times[None],
        radius=torch.tensor([radius]),
    )


def by_attention(scan: Scan, good: NDArray[np.bool_]) -> bool:
    """Whether the network is to say where the head was in frames that failed.

    Not by itself: between registered frames, even motion was measured to be as good.
    """
    wanted = scan.settings.tracker == "spaer"
    return bool(wanted and not good.all() and good.sum() >= FEWEST)


def predict(
    poses: Tensor,
    covariance: Tensor,
    good: NDArray[np.bool_],
    times: Tensor,
    center: Tensor,
    radius: float,
) -> Predicted:
    """Poses at all times from registered ones at some of them.

    Parameters
    ----------
    poses, covariance
        ``(N, 4, 4)`` and ``(N, 6, 6)`` of the reference; only the good ones are looked at.
    times
        ``(N,)`` s.
    center, radius
        Of the head in the reference, mm.
    """
    rotation, place = _about(poses, center)
    variance = covariance.diagonal(dim1=1, dim2=2).unflatten(1, (2, 3)).mean(-1)
    scale = torch.tensor([radius, 1.0], dtype=torch.float64)
    deviation = (variance.sqrt() * scale).nan_to_num(0.1).clamp(min=0.02)
    many = len(times)
    everything = Known(
        rotation=rotation[None],
        place=place[None],
        evidence=torch.zeros(1, many, EVIDENCE).double(),
        disagreement=torch.zeros(1, many, DISAGREEMENT, 3).double(),
        deviation=deviation[None],
        measured=torch.from_numpy(good)[None],
        times=times[None],
        radius=torch.tensor([radius]),
    )
    return _relative(everything, center, None)


def ahead(
    poses: Tensor,
    covariance: Tensor,
    good: NDArray[np.bool_],
    times: Tensor,
    center: Tensor,
    radius: float,
    wanted: Tensor,
) -> Predicted:
    """Poses at times to come, `wanted` s, each by itself; parameters are those of `predict`."""
    poses = torch.cat([poses, torch.eye(4).to(poses)[None]])
    covariance = torch.cat([covariance, torch.eye(6).to(covariance)[None]])
    good = np.append(good, False)
    found = [
        predict(poses, covariance, good, torch.cat([times, one[None]]), center, radius)
        for one in wanted
    ]
    return Predicted(
        torch.stack([one.poses[-1] for one in found]),
        torch.stack([one.covariance[-1] for one in found]),
    )


def _about(poses: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations, and places of the centre."""
    return poses[:, :3, :3], rigid.transform(poses, center[None])[:, 0]


def _relative(everything: Known, center: Tensor, reference: int | None) -> Predicted:
    """What the network answers, relative to the reference if there is one."""
    with torch.inference_mode():
        answer = through(temporal_network(), everything)
    rotation, place = answer.rotation[0], answer.place[0]
    poses = rigid.from_rotation(rotation, place - (rotation @ center[:, None])[..., 0])
    variance = answer.deviation[0].double().square()
    if reference is not None:
        poses = rigid.orthonormalized(poses @ rigid.inverse(poses[reference]))
        poses[reference] = torch.eye(4, dtype=torch.float64)
        variance = variance + variance[reference]
        variance[reference] = 0.0
    scale = torch.tensor([float(everything.radius[0]), 1.0], dtype=torch.float64)
    six = (variance / scale.square()).repeat_interleave(3, dim=-1)
    return Predicted(poses, torch.diag_embed(six))
