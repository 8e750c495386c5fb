"""Two images of other shape: the velocity that carries one onto the other, gently.

What is minimised is one less the local correlation (squared, so that contrast may be reversed) of
the fixed image with the moving one read through ``exp(v)``, and what the velocity costs::

    E(v) = 1 - Σ w c² / Σ w + λ (L v, v)

Steps are taken in ``L^½ v``, in which all waves are as easy to move.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimo_bids.deformation.lddmm import Metric, energy
from unimo_bids.deformation.modes import Modes
from unimo_bids.deformation.velocity import SQUARINGS, exponential
from unimo_bids.spatial.grid import Grid, voxel_centers
from unimo_bids.spatial.interpolation import gaussian_blur, sample_linear

# of the fixed image's own variance: what is flatter than this correlates with nothing
_FLAT = 1e-3


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
    iterations: int = 20,
    squarings: int = SQUARINGS,
) -> Tensor:
    """Find the velocity ``(3, M, M, M)``, mm, of `modes`, by which `moving` looks like `fixed`.

    ``modes.on(velocity, grid)`` is what `exponential` makes a displacement of.

    Parameters
    ----------
    fixed, moving
        ``(X, Y, Z)`` on one grid, aligned rigidly.
    weights
        ``(X, Y, Z)`` where they are compared; everywhere if not given.
    stiffness
        λ, per mm²: a velocity of 3 mm everywhere costs 0.045 of correlation.
    window
        Standard deviation of the neighbourhood that correlates, voxels.
    iterations
        Of L-BFGS, at most.
    squarings
        As `exponential` has them; fewer do for little.
    """
    metric = metric or Metric()
    weights = torch.ones_like(fixed) if weights is None else weights
    root = metric.cost(modes, fixed).sqrt()

    def velocity_of(flat: Tensor) -> Tensor:
        return modes.values(modes.spectrum(flat) / root)

    with torch.inference_mode(False), torch.enable_grad():
        fixed, moving, weights = (image.clone() for image in (fixed, moving, weights))
        flat = torch.zeros(3, *modes.box.shape).to(fixed).requires_grad_()
        steps = torch.optim.LBFGS([flat], max_iter=iterations, line_search_fn="strong_wolfe")

        def cost() -> Tensor:
            steps.zero_grad()
            velocity = velocity_of(flat)
            seen = carried(
                moving, exponential(modes.on(velocity, grid), grid, squarings=squarings), grid
            )
            alike = (weights * local_correlation(fixed, seen, window)).sum() / weights.sum()
            total = 1 - alike + stiffness * energy(velocity, modes, metric)
            total.backward()
            return total

        steps.step(cost)
        return velocity_of(flat.detach())


def carried(image: Tensor, displacement: Tensor, grid: Grid) -> Tensor:
    """An image ``(X, Y, Z)`` read at ``x + u(x)``, u ``(3, X, Y, Z)`` mm, linearly."""
    to_index = grid.to_index[:3, :3].to(displacement)
    places = voxel_centers(grid.shape, image.device).to(displacement)
    indices = places + displacement.flatten(1).mT @ to_index.mT
    return sample_linear(image[None, None], indices[None]).reshape(image.shape)


def local_correlation(one: Tensor, other: Tensor, window: float) -> Tensor:
    """Square of the correlation of two images ``(X, Y, Z)`` around each voxel, 0 … 1."""
    images = torch.stack([one, other, one * one, other * other, one * other])
    a, b, aa, bb, ab = gaussian_blur(images, [window] * 3)
    one_varies, other_varies = aa - a * a, bb - b * b
    least = _FLAT * one.var() * _FLAT * other.var().detach()
    return (ab - a * b).square() / (one_varies * other_varies).clamp(min=0).add(least)
