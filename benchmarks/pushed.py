"""A real head in a field of air-filled spheres, distorted by pushing its signal: scipy alone.

Nothing of what is judged has a part in the series: the mean of a real run at rest is moved by known
poses with scipy's splines, cut into slivers along the phase-encode axis, and each sliver's signal
is put where ``y = x + f(x) T s`` sends it, so that it piles up where slivers meet. The field is
that of magnetic dipoles, less what a linear shim takes away. The run's map is written as a scanner
writes it, on other voxels, in Hz or as a difference of phase, with noise, and read from the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import nibabel as nib
import numpy as np
import torch
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.pushed_heads import AXIS, READOUT, Array, Head, real_head
from benchmarks.table import with_p95
from unimo_bids.markdown import markdown_table
from unimo_bids.motion.distortion.estimation import Bent, estimate_distortion
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.pipeline.field_maps import read_field_map
from unimo_bids.pipeline.measured_field import MeasuredField
from unimo_bids.spatial.warp import Rigid, Warp

BETWEEN = 0.00246  # s, echoes of a difference of phase
_SLIVERS = 8  # of a voxel


def some_poses(count: int, degrees: float, mm: float, seed: int, middle: Array) -> Array:
    """Poses ``(T, 4, 4)`` about a place: slow swings, of so much at most; the first is none."""
    rng = np.random.default_rng(seed)
    swings = ndimage.gaussian_filter1d(rng.standard_normal((count, 6)), 2.0, axis=0)
    swings -= swings[0]
    swings /= np.abs(swings).max(axis=0)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.radians(degrees) * swings[:, :3]).as_matrix()
    poses[:, :3, 3] = mm * swings[:, 3:] + middle - poses[:, :3, :3] @ middle
    return poses


def pushed(head: Head, poses: Array) -> Array:
    """What a scanner shows of the head at poses ``(T, 4, 4)``: ``(X, Y, Z, T)``."""
    n = head.image.shape[AXIS]
    fine = list(head.image.shape)
    fine[AXIS] *= _SLIVERS
    index = np.indices(fine).reshape(3, -1).T.astype(float)
    index[:, AXIS] = (index[:, AXIS] + 0.5) / _SLIVERS - 0.5
    to = index[:, AXIS] + READOUT * head.hertz(apply_affine(head.affine, index))
    low = np.floor(to).astype(int)
    lines = [index[:, axis].round().astype(int) for axis in range(3)]
    out = np.zeros((*head.image.shape, len(poses)))
    for t, pose in enumerate(poses):
        signal = head.signal(pose, index)
        for voxel, share in ((low, low + 1 - to), (low + 1, to - low)):
            inside = (voxel >= 0) & (voxel < n)
            lines[AXIS] = voxel
            place = tuple(line[inside] for line in lines)
            np.add.at(out[..., t], place, (signal * share)[inside] / _SLIVERS)
    return out


def series(head: Head, poses: Array, noise: float, seed: int = 0) -> Array:
    """Frames ``(X, Y, Z, T)``, with noise of so much of the head's brightness."""
    rng = np.random.default_rng(seed)
    sigma = noise * np.quantile(head.image[head.mask], 0.5)
    frames = pushed(head, poses)
    return np.abs(frames + sigma * rng.standard_normal(frames.shape)).astype(np.float32)


def write_map(head: Head, folder: Path, kind: str, times: float) -> MeasuredField:
    """Write a map as a scanner measures it: on voxels of 4 mm, 3 Hz of noise, none in air."""
    rng = np.random.default_rng(1)
    affine = head.affine @ np.diag([4 / 3, 4 / 3, 1.0, 1.0])
    shape = tuple(int(n) for n in np.ceil(np.array(head.image.shape) * [0.75, 0.75, 1.0]))
    points = apply_affine(affine, np.indices(shape).reshape(3, -1).T.astype(float))
    index = apply_affine(np.linalg.inv(head.affine), points).T
    signal = ndimage.map_coordinates(head.image, index, order=1).reshape(shape)
    air = signal < 0.1 * np.quantile(signal, 0.98)
    hertz = times * head.hertz(points).reshape(shape) + 3 * rng.standard_normal(shape)
    if kind == "phase":
        phase = np.where(air, rng.uniform(-np.pi, np.pi, shape), 2 * np.pi * hertz * BETWEEN)
        stored = (np.angle(np.exp(1j * phase)) / np.pi * 2048 + 2048).clip(0, 4095).round()
        measured, scale = stored.astype(np.int16), BETWEEN
    else:
        measured, scale = np.where(air, 400 * rng.standard_normal(shape), hertz), 1.0
    places = [folder / f"{name}.nii.gz" for name in (kind, "magnitude")]
    for place, values in zip(places, (measured, signal.astype(np.float32)), strict=True):
        nib.save(nib.Nifti1Image(values, affine), place)
    assert kind in {"field", "phase"}
    return MeasuredField(kind, (places[0],), places[1], scale, READOUT)


def errors(head: Head, poses: Array, warps: list[Warp]) -> str:
    """Mean and 95th percentile over points and frames, mm, of where a warp says they are seen."""
    points = head.points[::5]
    at_reference = torch.from_numpy(head.shown(points))
    apart = [
        np.linalg.norm(warp(at_reference).numpy() - head.shown(apply_affine(pose, points)), axis=1)
        for warp, pose in zip(warps[1:], poses[1:], strict=True)
    ]
    return with_p95(apart, np.mean)


def judge(
    data: Path, heads: Sequence[str], sizes: Sequence[float], seeds: Sequence[int], maps: bool
) -> int:
    """Print the table: by each map the error, and what was said of it."""
    torch.set_num_threads(1)
    rows = [["head", "field, Hz", "seed", "map", "error, mean / p95, mm", "less left, %", "taken"]]
    rows[0] += ["CPU s"]
    for name, hertz, seed in product(heads, sizes, seeds):
        head = real_head(data, name, hertz)
        poses = some_poses(20, 6.0, 4.0, seed, head.points.mean(axis=0))
        frames = series(head, poses, 0.02)
        mask = head.mask.astype(np.float32)
        begun = process_time()
        motion = estimate_motion(frames, head.affine, mask=mask, reference=0)
        known = f"{process_time() - begun:.1f}"
        plain: list[Warp] = [Rigid(pose) for pose in torch.from_numpy(motion.poses)]
        case, before = [name, f"{hertz:g}", str(seed)], errors(head, poses, plain)
        rows.append([*case, "poses alone", before, "", "", known])
        print("; ".join(rows[-1]), flush=True)
        for kind, times in _MAPS if maps else _MAPS[:1]:
            with TemporaryDirectory() as folder:
                given = None if not kind else write_map(head, Path(folder), kind, times)
                field_map = None if given is None else read_field_map(given)
            begun = process_time()
            bent = estimate_distortion(frames, head.affine, motion, AXIS, field_map=field_map)
            spent = f"{process_time() - begun:.1f}"
            less = f"{100 * bent.less[AXIS]:.1f}" if AXIS in bent.less else "–"
            what = f"{kind}, {times:g} times the true one" if kind else "none: found in the frames"
            taken = ("map" if bent.measured else "field") if bent.distortion else "none"
            rows.append([*case, what, errors(head, poses, _warps(bent)), less, taken, spent])
            print("; ".join(rows[-1]), bent.finding, flush=True)
    print(markdown_table(rows))
    return 0


_MAPS = (("", 0.0), ("field", 1.0), ("phase", 1.0), ("field", 0.5), ("field", 2.0), ("field", -1.0))


def _warps(bent: Bent) -> list[Warp]:
    poses = torch.from_numpy(bent.motion.poses)
    found = bent.distortion
    return [Rigid(pose) if found is None else found.warp(pose) for pose in poses]
