"""How heads move: series of poses.

Every function returns ``(T, 4, 4)`` float64 motions of the head in the world, RAS mm: the head
turns about the world's origin, where the brain's centre is at rest, and is then shifted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import interpolate, ndimage

from unimo_bids.errors import InputError
from unimo_bids.spatial import rigid

Poses = NDArray[np.float64]


def poses_from(rotation_deg: NDArray[np.float64], translation_mm: NDArray[np.float64]) -> Poses:
    """Poses ``(T, 4, 4)`` from rotation vectors in degrees and translations, ``(T, 3)`` each."""
    rotation = torch.as_tensor(np.deg2rad(rotation_deg), dtype=torch.float64)
    return rigid.from_parameters(rotation, torch.as_tensor(translation_mm).double()).numpy()


def still(frames: int) -> Poses:
    """No motion."""
    return np.tile(np.eye(4), (frames, 1, 1))


def smooth_with_spikes(
    frames: int, translation_mm: float, rotation_deg: float, seed: int, spikes: float = 0.06
) -> Poses:
    """Slow drift with sudden excursions, within ± ``translation_mm``, ± ``rotation_deg`` per axis.

    ``spikes`` is the share of frames at which an excursion starts; each fades over the next frames.
    """
    rng = np.random.default_rng(seed)
    width = max(frames / 15, 1.0)
    walk = ndimage.gaussian_filter1d(
        rng.standard_normal((frames, 6)), width, axis=0, mode="reflect"
    )
    walk -= walk.mean(axis=0)
    walk /= np.abs(walk).max(axis=0) + 1e-12
    jumps = rng.random(frames) < spikes
    jumps[0] = False
    excursion = np.zeros((frames, 6))
    for t in range(1, frames):
        excursion[t] = 0.35 * excursion[t - 1]
        if jumps[t]:
            excursion[t] += rng.uniform(-1, 1, 6)
    unit = np.clip(0.7 * walk + excursion, -1, 1)
    return poses_from(unit[:, :3] * rotation_deg, unit[:, 3:] * translation_mm)


def uniform_range(frames: int, translation_mm: float, rotation_deg: float, seed: int) -> Poses:
    """Independent poses: rotation vector and translation uniform within ± the range per axis."""
    rng = np.random.default_rng(seed)
    unit = rng.uniform(-1, 1, (frames, 6))
    return poses_from(unit[:, :3] * rotation_deg, unit[:, 3:] * translation_mm)


def haar(frames: int, translation_mm: float, seed: int) -> Poses:
    """Independent poses: any rotation, uniform over SO(3); translation ± ``translation_mm``."""
    generator = torch.Generator().manual_seed(seed)
    rotation = rigid.random_rotations(frames, generator)
    shift = 2 * torch.rand(frames, 3, dtype=torch.float64, generator=generator) - 1
    return rigid.from_rotation(rotation, shift * translation_mm).numpy()


def replay(path: str | Path, name: str, frames: int | None = None, start: int = 0) -> Poses:
    """Play back a recorded trajectory, at rest in its frame ``start``.

    `path`: ``.npz`` with ``<name>_rotvec_rad (T, 3)`` and ``<name>_trans_mm (T, 3)``.
    """
    with np.load(path) as recordings:
        names = sorted(
            k.removesuffix("_rotvec_rad") for k in recordings if k.endswith("rotvec_rad")
        )
        if name not in names:
            raise InputError(path, f"no trajectory {name!r}", f"choose one of {', '.join(names)}")
        rotvec = recordings[f"{name}_rotvec_rad"][start:].astype(np.float64)
        shift = recordings[f"{name}_trans_mm"][start:].astype(np.float64)
    frames = len(rotvec) if frames is None else frames
    if not 0 < frames <= len(rotvec):
        raise InputError(
            path,
            f"{name} has {len(rotvec)} frames from frame {start} on",
            f"ask for fewer than {frames}",
        )
    poses = torch.as_tensor(poses_from(np.rad2deg(rotvec[:frames]), shift[:frames]))
    # The turn since `start` about the brain's centre, and how far that centre has gone
    turn = poses[:, :3, :3] @ poses[0, :3, :3].mT
    return rigid.from_rotation(turn, poses[:, :3, 3] - poses[0, :3, 3]).numpy()


# Size of steps within a burst (degrees, mm per axis) and share of frames in a burst, set so that
# median, 95th percentile, largest step and largest excursion are about those of the 45 recorded
# trajectories: mild their 10th percentile, typical their median, severe their 90th percentile.
_SEVERITY = {"mild": (2.2, 1.2, 0.15), "typical": (3.6, 2.2, 0.25), "severe": (6.0, 4.0, 0.4)}

REACH = 60.0  # mm; the recordings' largest excursions are 50-75 mm


def synthetic_fetal(frames: int, severity: str = "typical", seed: int = 0) -> Poses:
    """Fetal look-alike: calm stretches, bursts of movement, now and then a large turn."""
    if severity not in _SEVERITY:
        raise ValueError(f"severity {severity!r} is none of {', '.join(_SEVERITY)}")
    turn_deg, shift_mm, share = _SEVERITY[severity]
    rng = np.random.default_rng(seed)
    leave = 1 / 6  # a burst lasts six frames (15 s) on average
    enter = leave * share / (1 - share)
    bursting = False
    direction = np.zeros(6)
    rotation = torch.eye(4, dtype=torch.float64)
    place = np.zeros(3)
    poses = []
    for t in range(frames):
        bursting = rng.random() < (1 - leave if bursting else enter) if t else False
        # within a burst, the movement keeps some of its direction from frame to frame
        direction = 0.6 * direction + 0.8 * rng.standard_normal(6)
        size = rng.lognormal(0, 0.8) / 1.7 if bursting else 0.2 * rng.lognormal(0, 0.5)
        step = size * direction * ([turn_deg] * 3 + [shift_mm] * 3)
        place = 0.985 * place + (step[3:] if t else 0)
        if t:
            step_pose = torch.as_tensor(poses_from(step[None, :3], np.zeros((1, 3))))[0]
            # and its body turns the head back, by a thirtieth of the way in each frame
            back = rigid.to_parameters(rotation)[0] / -30
            home = rigid.from_parameters(back, torch.zeros(3, dtype=torch.float64))
            rotation = rigid.orthonormalized(step_pose @ home @ rotation)
        pose = rotation.clone()
        distance = np.linalg.norm(place) + 1e-12
        held = REACH * np.tanh(distance / REACH)  # the wall of the uterus holds the head back
        pose[:3, 3] = torch.as_tensor(place * held / distance)
        poses.append(pose)
    return torch.stack(poses).numpy()


def within_frames(poses: Poses, per_frame: int, jitter: float, seed: int) -> Poses:
    """A smooth way through poses at the frames' middles, ``(T · per_frame + 1, 4, 4)``.

    Cubic splines of rotation vector and translation, and on them what a recording of one pose a
    frame cannot show: a random walk that returns to every frame's pose, by `jitter` of the step
    from frame to frame.
    """
    frames = len(poses)
    turn, shift = rigid.to_parameters(torch.as_tensor(poses))
    known = torch.cat([turn, shift], dim=1).numpy()
    times = np.arange(frames * per_frame + 1) / per_frame
    middles = np.arange(frames) + 0.5
    way = interpolate.CubicSpline(middles, known, bc_type="natural")(times.clip(0.5, frames - 0.5))
    rng = np.random.default_rng([seed, 80])
    walk = rng.standard_normal(way.shape).cumsum(axis=0) / np.sqrt(per_frame)
    walk -= np.stack(
        [np.interp(times, middles, np.interp(middles, times, one)) for one in walk.T], axis=1
    )
    typical = np.sqrt(np.square(np.diff(known, axis=0)).mean(axis=0))
    way = way + jitter * typical * walk
    return poses_from(np.rad2deg(way[:, :3]), way[:, 3:])
