"""How far estimated poses are from the true ones, and what that does to the corrected series.

All errors are of what the poses do to brain points, in mm, or geodesic angles: never of Euler
angles. The reference frame, whose pose is known, counts in none of them. A frame without a pose
(NaN) is infinitely far off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.series import BenchmarkSeries
from unimo_bids.qc.tsnr import TemporalMoments
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

Float = NDArray[np.float64]

LOST_MM, LOST_DEG = 5.0, 10.0


@dataclass(frozen=True)
class Errors:
    """Errors of every frame, ``(T,)`` each.

    Attributes
    ----------
    displacement_mm
        Mean distance between where the two poses put the brain's points.
    rotation_deg
        Geodesic angle between the rotations.
    translation_mm
        Distance between where the two poses put the brain's centre.
    """

    displacement_mm: Float
    rotation_deg: Float
    translation_mm: Float

    def lost(self) -> NDArray[np.bool_]:
        """Which frames are more than 5 mm or 10° off, ``(T,)``."""
        return (self.displacement_mm > LOST_MM) | (self.rotation_deg > LOST_DEG)

    def without(self, frame: int) -> Errors:
        """Leave a frame out."""
        return Errors(
            np.delete(self.displacement_mm, frame),
            np.delete(self.rotation_deg, frame),
            np.delete(self.translation_mm, frame),
        )


def percent_sd(signal: NDArray[np.float32]) -> float:
    """Median over voxels of the standard deviation over time, per cent of the mean, ``(N, T)``."""
    return 100 * float(np.median(signal.std(axis=1) / signal.mean(axis=1)))


def pose_errors(estimated: Float, true: Float, brain_points: Float) -> Errors:
    """Compare poses ``(T, 4, 4)`` over brain points ``(N, 3)``.

    >>> true = np.tile(np.eye(4), (2, 1, 1))
    >>> estimated = true.copy()
    >>> estimated[1, 0, 3] = 0.3
    >>> pose_errors(estimated, true, np.zeros((1, 3))).displacement_mm.tolist()
    [0.0, 0.3]
    """
    missing = np.asarray(~np.isfinite(estimated).all(axis=(1, 2)))
    a = torch.as_tensor(np.where(missing[:, None, None], np.eye(4), estimated))
    b, points = torch.as_tensor(true), torch.as_tensor(brain_points)
    center = points.mean(dim=0, keepdim=True)
    errors = [
        rigid.displacement(a, b, points).mean(dim=-1).numpy(),
        # tools' matrices are rigid to their output's digits only
        rigid.rotation_angle(rigid.orthonormalized(a), b).numpy(),
        rigid.displacement(a, b, center)[:, 0].numpy(),
    ]
    for error in errors:
        error[missing] = np.inf
    return Errors(*errors)


def summary(errors: Errors) -> dict[str, float]:
    """Median, 95th percentile and maximum over frames, and the share of lost frames."""
    numbers: dict[str, float] = {}
    for name, values in vars(errors).items():
        numbers[f"{name}_median"] = percentile(values, 50)
        numbers[f"{name}_p95"] = percentile(values, 95)
        numbers[f"{name}_max"] = float(values.max())
    numbers["lost_share"] = float(errors.lost().mean())
    return numbers


def percentile(values: Float, q: float) -> float:
    """Percentile of errors that may be infinite.

    >>> percentile(np.array([0.0, 1.0, np.inf]), 50), percentile(np.array([0.0, np.inf]), 95)
    (1.0, inf)
    """
    far = 1e12  # infinities cannot be interpolated
    value = float(np.percentile(np.minimum(values, far), q))
    return value if value < far / 1e3 else float("inf")


def correction_quality(series: BenchmarkSeries, estimated: Float) -> dict[str, float]:
    """Judge a series once corrected, with estimated and with true poses (``_ceiling``).

    The median tSNR in the brain (a linear drift does not count); the mean Dice overlap of every
    frame's brain mask, brought to the reference, with the reference's; where there is activation,
    the correlation of its map over the brain with the truth, which noise limits, and with the map
    that the true poses give (``activation_agreement``), which only motion lessens.
    """
    missing = np.asarray(~np.isfinite(estimated).all(axis=(1, 2)))
    estimated = np.where(missing[:, None, None], np.eye(4), estimated)
    numbers, found_map = _corrected(series, estimated)
    ceiling, best_map = _corrected(series, series.poses)
    numbers |= {f"{name}_ceiling": value for name, value in ceiling.items()}
    if found_map is not None and best_map is not None:
        numbers["activation_agreement"] = float(np.corrcoef(found_map, best_map)[0, 1])
    return numbers


def _corrected(series: BenchmarkSeries, poses: Float) -> tuple[dict[str, float], Float | None]:
    """Numbers of a corrected series, and its activation map over the brain."""
    grid = Grid.of(series.data.shape, series.affine)
    brain = series.brain > 0.5
    moments = TemporalMoments(series.data.shape[:3])
    overlaps, signal = [], []
    for t, pose in enumerate(torch.as_tensor(poses)):
        raw = torch.from_numpy(np.ascontiguousarray(series.data[..., t]))
        frame = resample(raw, grid, Rigid(pose)).numpy()
        moments.update(frame)
        if len(series.regressor):
            signal.append(frame[brain])
        if t != series.reference:
            mask = torch.from_numpy(series.masks[..., t].astype(np.float32))
            moved = resample(mask, grid, Rigid(pose), interpolation="linear").numpy() > 0.5
            overlaps.append(dice(moved, brain))
    numbers = {
        "tsnr": float(np.median(moments.tsnr(True)[brain])),
        "dice": float(np.mean(overlaps)),
    }
    if not len(series.regressor):
        return numbers, None
    found = activation_map(np.stack(signal), series.regressor)
    true = series.activation[brain]
    numbers["activation_correlation"] = float(np.corrcoef(found, true)[0, 1])
    return numbers, found


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 0 of two empty ones."""
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


def kabsch(points: Float, onto: Float) -> Float:
    """Rigid pose ``(4, 4)`` that carries points ``(N, 3)`` onto others, by least squares."""
    middle, there = points.mean(axis=0), onto.mean(axis=0)
    moments = (onto - there).T @ (points - middle)
    rotation = rigid.nearest_rotation(torch.from_numpy(moments)).numpy()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, there - rotation @ middle
    return pose


def angle(one: Float, other: Float) -> float:
    """Between the rotations of two poses ``(4, 4)``, degrees."""
    return float(rigid.rotation_angle(torch.from_numpy(one), torch.from_numpy(other)))


def activation_map(signal: NDArray[np.float32], regressor: Float) -> Float:
    """Relative change with a regressor ``(T,)``, by least squares on signals ``(T, N)``.

    Constant and linear drift are fitted along.
    """
    frames = len(regressor)
    design = np.stack([regressor, np.ones(frames), np.linspace(-0.5, 0.5, frames)], axis=1)
    beta = np.linalg.lstsq(design, signal.astype(np.float64), rcond=None)[0]
    return beta[0] / np.maximum(beta[1], 1e-6)
