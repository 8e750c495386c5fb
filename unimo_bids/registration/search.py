"""Where is the head? All rotations × all translations, for frames that nothing nearer explains.

Edge strength is compared, not intensity: it survives another contrast, a receive bias and slices
that lost signal. For each rotation of the reference, every translation is one product of Fourier
transforms; the best few of all become starting points for `registration.register`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unimo_bids.registration.levels import Level, gradient_magnitude, make_level
from unimo_bids.spatial import rigid
from unimo_bids.spatial.interpolation import sample_linear

# rotations about 30° apart: Gauss–Newton at the coarse level reaches 40° and more
_ROTATIONS = 576
_SPACING = 1 / 5  # of the head's radius: half of what 30° moves its surface
# candidates nearer than this to a better one are dropped: the same valley
_DISTINCT_DEG = 25.0
_BLOCK = 48  # rotations per product: bounds the working memory


def rotation_grid(count: int) -> Tensor:
    """Rotations spread evenly over SO(3), ``(count, 3, 3)`` (super-Fibonacci, Alexa 2022)."""
    s = torch.arange(count, dtype=torch.float64) + 0.5
    inner, outer = torch.sqrt(s / count), torch.sqrt(1 - s / count)
    alpha = 2 * math.pi * s / math.sqrt(2)
    beta = 2 * math.pi * s / 1.533751168755204288118041
    quaternion = torch.stack(
        [
            inner * torch.sin(alpha),
            inner * torch.cos(alpha),
            outer * torch.sin(beta),
            outer * torch.cos(beta),
        ],
        dim=-1,
    )
    return rigid.quaternion_matrix(quaternion)


@dataclass(frozen=True)
class Turned:
    """A head in R rotations, to be looked for in many frames.

    Attributes
    ----------
    kernels
        ``(R, kx, ky, kz)`` its edges around its centre, of weighted mean 0 and unit norm.
    masks
        ``(R, kx, ky, kz)`` where it is.
    turns
        ``(R, 3, 3)``
    center
        Of the masked head in the reference, mm.
    level, coarse
        Of the frames, and at which they are searched.
    """

    kernels: Tensor
    masks: Tensor
    turns: Tensor
    center: Tensor
    level: Level
    coarse: Level


def in_all_rotations(
    reference: Tensor,
    weights: Tensor,
    level: Level,
    *,
    center: Tensor,
    radius: float,
    rotations: int = _ROTATIONS,
) -> Turned:
    """The head of a reference ``(X, Y, Z)`` with a soft mask, at a level, in all rotations."""
    turns = rotation_grid(rotations).to(reference.device)
    spacing = _SPACING * radius
    coarse = make_level(level.grid, blur=spacing / 2, spacing=spacing, device=reference.device)
    edges = gradient_magnitude(reference, level)
    kernels, masks = _turned(edges, weights, level, coarse, turns, center, radius)
    return Turned(kernels, masks, turns, center, level, coarse)


def search_poses(head: Turned, frames: Tensor, candidates: int = 8) -> Tensor:
    """The most promising poses of each frame, ``(B, candidates, 4, 4)`` float64, best first.

    Parameters
    ----------
    frames
        ``(B, X, Y, Z)`` images of the frames at the head's level.
    """
    from scipy.fft import next_fast_len  # most series need no search

    frames = head.coarse.image(gradient_magnitude(frames, head.level))
    kernels, shape = head.kernels, head.coarse.grid.shape
    dims = (-3, -2, -1)
    half = [k // 2 for k in kernels.shape[-3:]]
    # enough for heads whose centre is inside the grid, and quick to transform
    size = [next_fast_len(n + h, real=True) for n, h in zip(shape, half, strict=True)]
    spectrum = torch.fft.rfftn(frames, s=size, dim=dims)

    def centred(scores: Tensor) -> Tensor:  # index = place of the centre
        return torch.roll(scores, shifts=half, dims=dims)[:, : shape[0], : shape[1], : shape[2]]

    # variance of the frame under the head's window; a ball's is the same for every rotation
    ball = head.masks.mean(dim=0)
    ball = ball / ball.sum()
    ball_spectrum = torch.fft.rfftn(ball, s=size, dim=dims).conj()
    mean = torch.fft.irfftn(spectrum * ball_spectrum, s=size, dim=dims)
    squares = torch.fft.rfftn(frames**2, s=size, dim=dims)
    square = torch.fft.irfftn(squares * ball_spectrum, s=size, dim=dims)
    variance = square - mean**2
    floor = 0.05 * variance.amax(dim=dims, keepdim=True)  # air correlates with anything
    spread = centred(variance.clamp(min=0).add(floor).sqrt())

    # filled in place: a small tensor kept from each product would split the memory that the next
    # one needs, so that all of them together took a gigabyte
    scores = torch.empty(len(frames), len(kernels), device=frames.device)
    places = torch.empty(len(frames), len(kernels), dtype=torch.int64, device=frames.device)
    for start in range(0, len(kernels), _BLOCK):
        block = torch.fft.rfftn(kernels[start : start + _BLOCK], s=size, dim=dims).conj()
        for b in range(len(frames)):
            score = centred(torch.fft.irfftn(spectrum[b] * block, s=size, dim=dims)) / spread[b]
            part = slice(start, start + len(score))
            scores[b, part], places[b, part] = score.reshape(len(score), -1).max(dim=-1)
    return _distinct(scores, places, head, candidates)


def _turned(
    reference: Tensor,
    weights: Tensor,
    reference_level: Level,
    frame_level: Level,
    turns: Tensor,
    center: Tensor,
    radius: float,
) -> tuple[Tensor, Tensor]:
    """The reference's head in every rotation, on the frame's grid around its own centre.

    Returns kernels of weighted mean 0 and unit norm, and their masks, ``(R, kx, ky, kz)``.
    """
    reach = 1.3 * radius
    linear = frame_level.grid.affine[:3, :3].to(turns)
    counts = [int(reach / s) for s in frame_level.grid.sizes.tolist()]
    axes = [torch.arange(-c, c + 1, dtype=torch.float64, device=turns.device) for c in counts]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    shape = offsets.shape[:3]
    offsets = offsets.reshape(-1, 3) @ linear.mT
    to_index = reference_level.grid.to_index.to(turns)
    images = torch.stack([reference, weights])[None]
    kernels, masses = [], []
    for start in range(0, len(turns), _BLOCK):
        back = offsets @ turns[start : start + _BLOCK]  # R⁻¹ d, as rows
        indices = rigid.transform(to_index, back + center.to(turns))
        view = reference_level.validity(indices.float())
        values = sample_linear(images.expand(len(back), -1, -1, -1, -1), indices.float())
        mass = values[:, 1] * view
        total = mass.sum(dim=-1, keepdim=True).clamp(min=1e-6)
        kernel = mass * (values[:, 0] - (mass * values[:, 0]).sum(dim=-1, keepdim=True) / total)
        # the norm that makes the score a correlation: Σ w f̃ m / √(Σ w f̃² · Σ w) / sd(m)
        square = kernel**2 / mass.clamp(min=1e-6)
        norm = (square.sum(dim=-1, keepdim=True) * total).clamp(min=1e-12).sqrt()
        kernels.append((kernel / norm).reshape(-1, *shape))
        masses.append(mass.reshape(-1, *shape))
    return torch.cat(kernels), torch.cat(masses)


def _distinct(scores: Tensor, places: Tensor, head: Turned, candidates: int) -> Tensor:
    """Best candidates of each frame that are not neighbours of a better one."""
    turns, grid = head.turns, head.coarse.grid
    trace = turns.reshape(-1, 9) @ turns.reshape(-1, 9).mT  # of Rᵀ S: 1 + 2 cos of the angle
    near = (trace - 1) / 2 > math.cos(math.radians(_DISTINCT_DEG))
    _, ny, nz = grid.shape
    index = torch.stack([places // (ny * nz), places // nz % ny, places % nz], dim=-1)
    world = rigid.transform(grid.affine.to(turns), index.to(turns.dtype))
    poses = rigid.from_rotation(turns, world - (turns @ head.center.to(turns)))
    left = scores.clone()
    chosen = []
    for _ in range(candidates):
        top = left.argmax(dim=-1)
        chosen.append(top)
        left = left.masked_fill(near[top], -torch.inf)
    picked = torch.stack(chosen, dim=-1)
    rows = torch.arange(len(scores), device=scores.device)[:, None]
    return poses[rows, picked]
