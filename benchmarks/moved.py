"""A real BOLD volume moved by known poses: noise, contrast and anatomy that nobody simulated.

The volume is the median of a nearly still run, so that little of its own noise moves along as if it
were anatomy. It is sampled by sinc interpolation (zero-padded Fourier twice as fine, then cubic
splines); a slab of 20 slices is kept, so that what moves in and out of it is real too. No frame,
the reference included, lies on the volume's own grid, and every frame has its own noise.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.series import BenchmarkSeries
from unimo_bids.simulation.kinematics import poses_from, smooth_with_spikes
from unimo_bids.spatial.grid import world_points
from unimo_bids.spatial.interpolation import sample_cubic, spline_coefficients
from unimo_bids.spatial.rigid import transform

SLICES = 20
TSNR = 60.0
STILL_RUNS = ("sub-xa30", "sub-rtcloud")  # of the development data; the others move on purpose


def moved_bold(folder: Path, frames: int, seed: int) -> BenchmarkSeries:
    """Series of a real volume, moved within 1 mm and 1°; the seed chooses among the runs."""
    paths = [p for name in STILL_RUNS for p in sorted(folder.glob(f"{name}/**/*_bold.nii.gz"))]
    paths = paths or sorted(folder.glob("**/*_bold.nii*"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no *_bold.nii.gz; name a folder with --data")
    image = nib.nifti1.load(paths[seed % len(paths)])
    volume = np.median(np.asarray(image.dataobj, dtype=np.float32), axis=3)
    affine = np.asarray(image.affine, dtype=np.float64)
    brain = brain_of(volume)
    repetition_time = float(image.header.get_zooms()[3]) or 2.0
    return _slab(volume, brain, affine, repetition_time=repetition_time, frames=frames, seed=seed)


def brain_of(volume: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Brain, roughly: what is bright, opened, its largest part, filled, ``(X, Y, Z)``."""
    bright = volume > 0.35 * np.percentile(volume, 95)
    opened = ndimage.binary_opening(bright, iterations=2)
    labels, count = ndimage.label(opened)
    if count == 0:
        return bright
    largest = 1 + int(np.argmax(ndimage.sum_labels(opened, labels, range(1, count + 1))))
    brain = ndimage.binary_dilation(labels == largest)
    for k in range(brain.shape[2]):  # a coil's shading leaves the middle dark, and open below
        brain[..., k] = ndimage.binary_fill_holes(brain[..., k])
    return brain


def _slab(
    volume: NDArray[np.float32],
    brain: NDArray[np.bool_],
    affine: NDArray[np.float64],
    *,
    repetition_time: float,
    frames: int,
    seed: int,
) -> BenchmarkSeries:
    rng = np.random.default_rng([seed, 20])
    x, y, z = volume.shape
    slices = min(SLICES, z)
    first = (z - slices) // 2
    shape = (x, y, slices)
    slab = affine.copy()
    slab[:3, 3] += affine[:3, 2] * first
    fine, fine_affine = _twice_as_fine(volume, affine)
    coefficients = spline_coefficients(torch.from_numpy(fine))[None, None]
    brain_coefficients = spline_coefficients(torch.from_numpy(brain.astype(np.float32)))[None, None]
    points = world_points(shape, torch.as_tensor(slab))
    center = (affine @ [*ndimage.center_of_mass(brain), 1])[:3]

    motion = smooth_with_spikes(frames, 1.0, 1.0, seed)
    # every frame lies somewhere between the voxels, also where the head is at rest
    off_grid = poses_from(rng.uniform(-0.5, 0.5, (1, 3)), rng.uniform(-0.4, 0.4, (1, 3)))[0]
    shift = np.eye(4)
    shift[:3, 3] = center
    head = shift @ motion @ off_grid @ np.linalg.inv(shift)
    sigma = float(volume[brain].mean()) / TSNR
    data = np.empty((*shape, frames), dtype=np.float32)
    masks = np.empty((*shape, frames), dtype=np.uint8)
    for t in range(frames):
        at = transform(torch.as_tensor(np.linalg.inv(head[t])), points)
        signal = _sampled(coefficients, fine_affine, at, shape)
        noise = rng.standard_normal((2, *shape)).astype(np.float32) * sigma
        data[..., t] = np.hypot(signal + noise[0], noise[1])
        soft = _sampled(brain_coefficients, affine, at, shape)
        masks[..., t] = soft > 0.5
        if t == 0:
            brain_fraction = soft.clip(0, 1)
    poses = head @ np.linalg.inv(head[0])
    poses[0] = np.eye(4)
    inside = np.argwhere(masks[..., 0] > 0)
    chosen = inside[np.sort(rng.choice(len(inside), min(4000, len(inside)), replace=False))]
    return BenchmarkSeries(
        data=data,
        affine=slab,
        poses=poses,
        brain=brain_fraction,
        brain_points=apply_affine(slab, chosen),
        masks=masks,
        reference=0,
        repetition_time=repetition_time,
    )


def _sampled(
    coefficients: torch.Tensor,
    affine: NDArray[np.float64],
    points: torch.Tensor,
    shape: tuple[int, int, int],
) -> NDArray[np.float32]:
    indices = transform(torch.as_tensor(np.linalg.inv(affine)), points).float()
    return sample_cubic(coefficients, indices[None])[0, 0].reshape(shape).numpy()


def _twice_as_fine(
    volume: NDArray[np.float32], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Sinc interpolation to half the voxel size; mirrored beyond the borders, which do not wrap."""
    mirrored = volume
    for axis in range(3):
        mirrored = np.concatenate([mirrored, np.flip(mirrored, axis)], axis=axis)
    spectrum = np.fft.fftshift(np.fft.fftn(mirrored))
    pads = [(n // 2, n // 2) for n in mirrored.shape]  # even, as mirrored
    fine = np.fft.ifftn(np.fft.ifftshift(np.pad(spectrum, pads))).real * 8
    fine = fine[tuple(slice(2 * n - 1) for n in volume.shape)]
    half = affine.copy()
    half[:3, :3] /= 2
    return np.ascontiguousarray(fine, dtype=np.float32), half
