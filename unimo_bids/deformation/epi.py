"""Distortion of EPI: signal misplaced along the phase-encode axis, by a field fixed in the scanner.

A voxel at ``y`` shows what truly is at ``D(y) = y + d(y) a`` (a: unit vector of the axis), times
``1 + ∂d/∂a``, so that no signal is made or lost. A head that moves by T under such a field is seen
to go from ``x`` in the reference to ``D⁻¹(T D(x))``: where the field is not the same, it is bent.

The field is a sum of cosines over a box of the grid, and goes on as at the border beyond it::

    d(i, j, k) = Σ c(p, q, r) cos(π p u) cos(π q v) cos(π r w),     u, v, w = 0 … 1 in the box
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from unimo_bids.spatial.grid import Grid, Window
from unimo_bids.spatial.interpolation import sample_linear
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Composed, Field, Rigid, Warp

# where signal is squeezed further, no field tells apart what is in a voxel
LEAST_DENSITY = 0.25
# mm: waves shorter than 2π times this are expected to be the smaller the shorter they are. Fields
# of air spaces fall off over a few centimetres
_SMOOTHNESS = 15.0
# of the fixed point that inverts the field: each gains a factor of at least 1 - LEAST_DENSITY
_STEPS, _PRECISE = 50, 1e-3  # mm


@dataclass(frozen=True, eq=False)
class ShiftField:
    """Displacements along one axis of a grid, mm.

    Attributes
    ----------
    grid
        The scanner's.
    axis
        Phase-encode axis of the grid: 0, 1 or 2.
    first, last
        ``(3,)`` indices of the box that the cosines span.
    coefficients
        ``(P, Q, R)`` mm, float64.
    """

    grid: Grid
    axis: int
    first: Tensor
    last: Tensor
    coefficients: Tensor

    @property
    def direction(self) -> Tensor:
        """``(3,)`` unit vector a of the axis in the world."""
        return self.grid.affine[:3, self.axis] / self.grid.sizes[self.axis]

    @property
    def is_none(self) -> bool:
        """Whether nothing is displaced."""
        return not bool(self.coefficients.any())

    def changed(self, indices: Tensor, by_shift: Tensor, by_slope: Tensor) -> Tensor:
        """Derivative by each coefficient, given the derivatives by shift and slope.

        Parameters
        ----------
        indices
            ``(N, 3)``
        by_shift, by_slope
            ``(N,)`` s and t: of a mm of displacement, of its slope along a.

        Returns
        -------
        Tensor
            ``(N, P·Q·R)``: s φ + t ∂φ/∂a of each cosine φ.
        """
        factors = []
        for axis, many in enumerate(self.coefficients.shape):
            factor, slope = self.along(axis, indices[:, axis], many)
            if axis == self.axis:  # all others are factors of both
                factor = by_shift[:, None] * factor + by_slope[:, None] * slope
            factors.append(factor)
        return _products(factors)

    @cached_property
    def shift(self) -> Tensor:
        """``d`` at the voxels, ``(X, Y, Z)`` float32 mm."""
        return self._on_grid(sloped=False)

    @cached_property
    def density(self) -> Tensor:
        """``1 + ∂d/∂a`` at the voxels: how much signal is in one, ``(X, Y, Z)`` float32."""
        return 1 + self._on_grid(sloped=True)

    def distorting(self) -> Field:
        """``D``: from what a volume shows to what is truly there."""
        return self._field(self.shift)

    def undistorting(self) -> Field:
        """``D⁻¹``: from what is there to where a volume shows it."""
        return self._field(self.seen)

    @cached_property
    def seen(self) -> Tensor:
        """How far along a the tissue at a voxel is seen: ``e(x) = -d(x + e a)``, as `shift`."""
        size, last = float(self.grid.sizes[self.axis]), self.grid.shape[self.axis] - 1
        d = self.shift.movedim(self.axis, -1)  # linear between voxels along a
        e = torch.zeros_like(d)
        for _ in range(_STEPS):
            before = e
            at = (torch.arange(last + 1) + e / size).clamp(0, last)
            below = at.long().clamp(max=last - 1)
            e = -torch.lerp(d.gather(-1, below), d.gather(-1, below + 1), at - below)
            if float((e - before).abs().max()) < _PRECISE:
                break
        return e.movedim(-1, self.axis).contiguous()

    @property
    def roughness(self) -> Tensor:
        """Inverse of the expected squares of the coefficients, up to a factor, ``(P, Q, R)``."""
        lengths = ((self.last - self.first) * self.grid.sizes).tolist()
        along = [
            torch.pi * torch.arange(n, dtype=torch.float64) / length
            for n, length in zip(self.coefficients.shape, lengths, strict=True)
        ]
        squares = torch.stack(torch.meshgrid(*along, indexing="ij")).square().sum(dim=0)
        return (1 + _SMOOTHNESS**2 * squares) ** 2

    def without_mean(self, weights: Tensor) -> tuple[ShiftField, Tensor]:
        """The field less its mean over weights ``(X, Y, Z)``, and that as a motion ``(4, 4)``.

        A shift c of everything is no distortion: with ``d = d' + c`` and G the motion by c along a,
        ``D⁻¹ T D`` is ``D'⁻¹ (G⁻¹ T G) D'``.
        """
        mean = float((weights * self.shift).sum() / weights.sum())
        coefficients = self.coefficients.clone()
        coefficients[0, 0, 0] -= mean
        motion = torch.eye(4, dtype=torch.float64)
        motion[:3, 3] = mean * self.direction
        return replace(self, coefficients=coefficients), motion

    def on_whole(self, grid: Grid, window: Window) -> ShiftField:
        """The same field on a grid of which its own is the part in a window."""
        start = torch.tensor([one.start for one in window], dtype=torch.float64)
        return replace(self, grid=grid, first=self.first + start, last=self.last + start)

    def times(self, share: float) -> ShiftField:
        """A multiple of the field."""
        return replace(self, coefficients=share * self.coefficients)

    def limited(self) -> ShiftField:
        """The same field, scaled down if it would squeeze signal too much or fold it."""
        steepest = -float((self.density - 1).min())
        return self.times(min(1.0, (1 - LEAST_DENSITY) / max(steepest, 1e-9)))

    def _on_grid(self, *, sloped: bool) -> Tensor:
        factors = []
        for axis, (n, many) in enumerate(
            zip(self.grid.shape, self.coefficients.shape, strict=True)
        ):
            factor, slope = self.along(axis, torch.arange(n, dtype=torch.float64), many)
            factors.append(slope if sloped and axis == self.axis else factor)
        return torch.einsum("pqr,xp,yq,zr->xyz", self.coefficients, *factors).float()

    def _field(self, along: Tensor) -> Field:
        direction = self.direction.float()[:, None, None, None]
        return Field(self.grid, direction * along)

    def along(self, axis: int, index: Tensor, many: int) -> tuple[Tensor, Tensor]:
        """Cosines ``(N, many)`` along one axis, and their slopes per mm."""
        length = float(self.last[axis] - self.first[axis])
        place = (index - float(self.first[axis])) / length
        wave = torch.pi * torch.arange(many).to(index)
        phase = place.clamp(0, 1)[:, None] * wave
        per_mm = wave / (length * float(self.grid.sizes[axis]))
        return torch.cos(phase), -torch.sin(phase) * per_mm


def empty_field(grid: Grid, axis: int, first: Tensor, last: Tensor, half_wave: float) -> ShiftField:
    """No displacement yet, in a box of the grid.

    Parameters
    ----------
    half_wave
        Of the shortest cosine, mm.
    """
    many = [
        max(2, 1 + round(length / half_wave)) for length in ((last - first) * grid.sizes).tolist()
    ]
    return ShiftField(grid, axis, first, last, torch.zeros(*many, dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class PartOfField(ShiftField):
    """A multiple of a known field; the factor is its only coefficient, ``(1, 1, 1)``."""

    known: ShiftField

    @property
    def roughness(self) -> Tensor:
        """As of a field found in frames; no size of the factor is preferred."""
        return torch.ones_like(self.coefficients)

    def changed(self, indices: Tensor, by_shift: Tensor, by_slope: Tensor) -> Tensor:
        """As of a field that is found in frames, of the known field, ``(N, 1)``."""
        both = torch.stack([self.known.shift, self.known.density - 1])[None]
        shift, slope = sample_linear(both, indices[None].float())[0]
        return (by_shift * shift + by_slope * slope)[:, None]

    def _on_grid(self, *, sloped: bool) -> Tensor:
        known = self.known.density - 1 if sloped else self.known.shift
        return float(self.coefficients) * known


def part_of(field: ShiftField, share: float) -> PartOfField:
    """A multiple of a field, whose factor is to be estimated."""
    coefficients = torch.full((1, 1, 1), share, dtype=torch.float64)
    return PartOfField(field.grid, field.axis, field.first, field.last, coefficients, field)


@dataclass(frozen=True, eq=False)
class Distortion:
    """A field in the scanner, made ready for all frames of a series."""

    field: ShiftField

    @cached_property
    def _first(self) -> Field:
        return self.field.distorting()

    @cached_property
    def _last(self) -> Field:
        return self.field.undistorting()

    def spread(self, volume: Tensor) -> Tensor:
        """A volume ``(X, Y, Z)`` with the brightness that things have without squeezing."""
        return volume / self.field.density.to(volume)

    def gathered(
        self, volume: Tensor, onto: Grid | None = None, space: Warp | None = None
    ) -> Tensor:
        """A corrected volume, squeezed as the reference is, on the field's grid or another.

        Parameters
        ----------
        onto, space
            As in `correct_series`: another grid, and from its space to the reference's.
        """
        density = self.field.density.to(volume)
        if onto is None:
            return volume * density
        rest = space or Rigid(torch.eye(4, dtype=torch.float64))
        return volume * resample(
            density, self.field.grid, rest, onto=onto, interpolation="linear", outside=1.0
        )

    def warp(self, pose: Tensor) -> Warp:
        """``D⁻¹ T D``: reference → volume."""
        return Composed(self._first, Composed(Rigid(pose), self._last))


def _products(factors: list[Tensor]) -> Tensor:
    first, second, third = factors
    return (first[:, :, None, None] * second[:, None, :, None] * third[:, None, None, :]).flatten(1)
