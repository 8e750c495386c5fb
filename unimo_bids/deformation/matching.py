"""Two images of other shape: the velocity that carries one onto the other, gently.

Both images are made alike first, whatever their contrast: less their local mean, over their local
standard deviation. What is minimised, of such a and b and their local correlation c, is what either
leaves of the other where b is read through the flow of v, and what the velocity costs::

    E(v) = Σ w (|a - c b|² + |b - c a|²) / 2 Σ w + λ (L v, v)

|a - c b|² is one less the squared correlation: contrast may be reversed. Steps are Gauss–Newton's,
on the slopes of both images (Vercauteren et al. 2009), solved by conjugate gradients; a change of v
is taken for one of the displacement. The flow is v's exponential, or geodesic shooting from v.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unimo_bids.deformation.lddmm import Metric, energy, shoot
from unimo_bids.deformation.modes import Modes
from unimo_bids.deformation.solver import conjugate_gradients
from unimo_bids.deformation.velocity import exponential
from unimo_bids.spatial.grid import Grid, voxel_centers
from unimo_bids.spatial.interpolation import gaussian_blur, gradient, sample_linear

# of an image's own standard deviation: what varies less is noise
_FLAT = 0.05
_BRIGHTEST = 4.0  # local standard deviations
_CONJUGATE = 12  # steps of conjugate gradients in one of Gauss–Newton
_FARTHEST = 1.5  # voxels that a step may go

Flow = Literal["svf", "lddmm"]


@torch.no_grad()
def register(
    fixed: Tensor,
    moving: Tensor,
    grid: Grid,
    modes: Modes,
    *,
    weights: Tensor | None = None,
    metric: Metric | None = None,
    stiffness: float = 0.005,
    window: float = 2.0,
    iterations: int = 8,
    start: Tensor | None = None,
    flow: Flow = "svf",
) -> Tensor:
    """Find the velocity ``(3, M, M, M)``, mm, of `modes`, that makes `moving` look like `fixed`.

    `displacement` turns it into displacements.

    Parameters
    ----------
    fixed, moving
        ``(X, Y, Z)`` on one grid, aligned rigidly; its axes are those of the box of `modes`.
    weights
        ``(X, Y, Z)`` where they are compared; everywhere if not given.
    stiffness
        λ, per mm²: a velocity of 3 mm everywhere costs 0.045 of correlation.
    window
        Standard deviation of the neighbourhood that correlates, voxels.
    iterations
        At most.
    start
        Velocity to begin with, as of `networks.deformation`; none if not given.
    """
    metric = metric or Metric()
    weights = torch.ones_like(fixed) if weights is None else weights
    share = weights / weights.sum()
    cost = stiffness * metric.cost(modes, fixed)
    samples = modes.box.shape[0] ** 3
    velocity = torch.zeros(3, *modes.box.shape).to(fixed) if start is None else start.to(fixed)
    a = standardised(fixed, window)
    slope_a = gradient(a, grid.affine).movedim(-1, 0)
    best, least = velocity, float("inf")
    for left in range(iterations, -1, -1):
        seen = carried(moving, displacement(velocity, modes, grid, metric, flow), grid)
        b = standardised(seen, window)
        slope_b = gradient(b, grid.affine).movedim(-1, 0)
        alike, push, curved = pushed(a, b, slope_a, slope_b, window)
        apart = ((a - alike * b).square() + (b - alike * a).square()) / 2
        total = float((share * apart).sum() + stiffness * energy(velocity, modes, metric))
        if total < least:
            best, least = velocity, total
        if left:
            back = _costing(velocity, modes, cost) / samples
            slope = modes.gathered(share * push, grid) - back
            step = _solved(slope, modes, grid, share * curved, cost / samples)
            farthest = float((modes.on(step, grid).norm(dim=0) / grid.widest).max())
            velocity = velocity + step * min(1.0, _FARTHEST / max(farthest, 1e-9))
    return best


def standardised(images: Tensor, window: float) -> Tensor:
    """Local mean 0 and standard deviation 1 where there is anything, ``(..., X, Y, Z)``."""
    centered = images - gaussian_blur(images, [window] * 3)
    variance = gaussian_blur(centered.square(), [window] * 3)
    flat = _FLAT * images.std(dim=(-3, -2, -1), keepdim=True)
    local = centered / (variance + flat.square().clamp(min=1e-12)).sqrt()
    return local.clamp(-_BRIGHTEST, _BRIGHTEST)


def local_correlation(one: Tensor, other: Tensor, window: float) -> Tensor:
    """Square of the correlation of two images ``(X, Y, Z)`` around each voxel, 0 … 1."""
    images = torch.stack([one, other, one * one, other * other, one * other])
    a, b, aa, bb, ab = gaussian_blur(images, [window] * 3)
    flat = _FLAT**4 * one.var() * other.var()
    return (ab - a * b).square() / ((aa - a * a) * (bb - b * b)).clamp(min=0).add(flat)


def pushed(
    a: Tensor, b: Tensor, slope_a: Tensor, slope_b: Tensor, window: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Correlation, slope and curvature of what either of two images leaves of the other.

    Parameters
    ----------
    a, b
        ``(..., X, Y, Z)`` as of `standardised`.
    slope_a, slope_b
        ``(..., 3, X, Y, Z)``

    Returns
    -------
    Tensor
        ``(..., X, Y, Z)``, ``(..., 3, X, Y, Z)`` towards less, and ``(..., 6, X, Y, Z)``: xx, xy,
        xz, yy, yz, zz.
    """
    alike = gaussian_blur(a * b, [window] * 3).clamp(-1, 1)
    c = alike[..., None, :, :, :]
    push = c * ((a - alike * b).unsqueeze(-4) * slope_b - (b - alike * a).unsqueeze(-4) * slope_a)
    i, j = torch.triu_indices(3, 3, device=a.device)
    curved = slope_a[..., i, :, :, :] * slope_a[..., j, :, :, :]
    curved = curved + slope_b[..., i, :, :, :] * slope_b[..., j, :, :, :]
    return alike, push, c.square() * curved


def symmetric(six: Tensor) -> Tensor:
    """Matrices ``(..., 3, 3)`` of their upper triangles ``(..., 6)``."""
    return six[..., torch.tensor([[0, 1, 2], [1, 3, 4], [2, 4, 5]], device=six.device)]


def displacement(
    velocity: Tensor, modes: Modes, grid: Grid, metric: Metric | None = None, flow: Flow = "svf"
) -> Tensor:
    """Where a velocity ``(3, M, M, M)`` carries a grid's voxels, ``(3, X, Y, Z)`` mm."""
    if flow == "svf":
        return exponential(modes.on(velocity, grid), grid)
    # images are read by ψ, whose points go against the velocity
    return modes.on(shoot(-velocity, modes, metric or Metric()).displacement, grid)


def carried(image: Tensor, displacement: Tensor, grid: Grid) -> Tensor:
    """An image ``(X, Y, Z)`` read at ``x + u(x)``, u ``(3, X, Y, Z)`` mm, linearly."""
    to_index = grid.to_index[:3, :3].to(displacement)
    places = voxel_centers(grid.shape, image.device).to(displacement)
    indices = places + displacement.flatten(1).mT @ to_index.mT
    return sample_linear(image[None, None], indices[None]).reshape(image.shape)


def _costing(velocity: Tensor, modes: Modes, cost: Tensor) -> Tensor:
    """Derivative of ``λ (L v, v)``, summed over the box."""
    return modes.values(2 * cost * modes.spectrum(velocity))


def _solved(slope: Tensor, modes: Modes, grid: Grid, curved: Tensor, cost: Tensor) -> Tensor:
    """Conjugate gradients: the step ``(3, M, M, M)`` at which a quadratic cost is least."""
    matrices = symmetric(curved.movedim(0, -1))
    # as if the curvature were the same everywhere, and in all directions
    everywhere = float(curved[[0, 3, 5]].sum()) / 3 / modes.box.shape[0] ** 3

    def bent(step: Tensor) -> Tensor:
        at = torch.einsum("xyzij,jxyz->ixyz", matrices, modes.on(step, grid))
        return modes.gathered(at, grid) + _costing(step, modes, cost)

    def eased(residual: Tensor) -> Tensor:
        return modes.values(modes.spectrum(residual) / (everywhere + 2 * cost))

    return conjugate_gradients(bent, eased, slope, _CONJUGATE, absolute=1e-20)
