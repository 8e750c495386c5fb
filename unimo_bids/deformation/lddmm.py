"""Geodesic shooting: deformations that are invertible however large, from a velocity at the start.

The velocity v keeps the energy ``(L v, v)`` of its momentum ``m = L v`` along the shortest way
(EPDiff), and carries the deformation ψ with it, by which images are read (``I ∘ ψ``)::

    ∂v/∂t = -K ((Dv)ᵀ m + (Dm) v + m div v),     ∂ψ/∂t = -Dψ v,     K = L⁻¹

All of it on the few waves of a box (Zhang & Fletcher 2019), in operations that PyTorch
differentiates: gradients are those of the discrete formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unimo_bids.deformation.modes import Modes

STEPS = 10


@dataclass(frozen=True)
class Metric:
    """Cost of velocities: ``L = (1 + ℓ² |κ|²)ᵖ`` of a wave κ.

    Attributes
    ----------
    length
        ℓ, mm: waves longer than 2πℓ cost about the same.
    power
        p. At 2 or more, ways are smooth at every point (Dupuis et al. 1998).
    """

    length: float = 12.0
    power: int = 2

    def cost(self, modes: Modes, like: Tensor) -> Tensor:
        """L of each wave, ``(M, M, (M + 1) / 2)``."""
        squares = modes.waves.square().sum(dim=0)
        return ((1 + self.length**2 * squares) ** self.power).to(like)


@dataclass(frozen=True, eq=False)
class Shot:
    """End of a geodesic.

    Attributes
    ----------
    velocity
        ``(..., 3, M, M, M)`` there. Shooting with its negative goes back.
    displacement
        ``(..., 3, M, M, M)`` mm: u of ``ψ(x) = x + u(x)``, the box's M³ values of it.
    """

    velocity: Tensor
    displacement: Tensor


def shoot(
    velocity: Tensor,
    modes: Modes,
    metric: Metric,
    *,
    steps: int = STEPS,
    scheme: Literal["rk4", "euler"] = "rk4",
) -> Shot:
    """Follow velocities ``(..., 3, M, M, M)``, mm, for the time 1.

    The inverse of ψ is what shooting from ``-Shot.velocity`` gives.
    """
    v = modes.spectrum(velocity)
    cost = metric.cost(modes, velocity)
    state = torch.stack([v, torch.zeros_like(v)])

    def change(state: Tensor) -> Tensor:
        v, u = state
        return torch.stack([-_coadjoint(v, cost * v, modes) / cost, -v - _along(u, v, modes)])

    dt = 1 / steps
    for _ in range(steps):
        first = change(state)
        if scheme == "euler":
            state = state + dt * first
            continue
        second = change(state + dt / 2 * first)
        third = change(state + dt / 2 * second)
        fourth = change(state + dt * third)
        state = state + dt / 6 * (first + 2 * second + 2 * third + fourth)
    end, displacement = modes.values(state)
    return Shot(end, displacement)


def energy(velocity: Tensor, modes: Modes, metric: Metric) -> Tensor:
    """``(L v, v)``, mean over the box, of ``(..., 3, M, M, M)``: ``(...)``."""
    v = modes.spectrum(velocity)
    momentum = modes.values(metric.cost(modes, velocity) * v)
    return (momentum * velocity).sum(dim=-4).mean(dim=(-3, -2, -1))


def _coadjoint(v: Tensor, m: Tensor, modes: Modes) -> Tensor:
    """``(Dv)ᵀ m + (Dm) v + m div v`` of amplitudes ``(..., 3, M, M, ·)``."""
    dv, dm = modes.wide(modes.slopes(v)), modes.wide(modes.slopes(m))  # (..., i, j, P, P, P)
    at_v, at_m = modes.wide(v), modes.wide(m)
    turned = torch.einsum("...jixyz,...jxyz->...ixyz", dv, at_m)
    carried = torch.einsum("...ijxyz,...jxyz->...ixyz", dm, at_v)
    squeezed = at_m * torch.einsum("...jjxyz->...xyz", dv)[..., None, :, :, :]
    return modes.narrow(turned + carried + squeezed)


def _along(u: Tensor, v: Tensor, modes: Modes) -> Tensor:
    """``(Du) v`` of amplitudes ``(..., 3, M, M, ·)``."""
    du = modes.wide(modes.slopes(u))
    return modes.narrow(torch.einsum("...ijxyz,...jxyz->...ixyz", du, modes.wide(v)))
