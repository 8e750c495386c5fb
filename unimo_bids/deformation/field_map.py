"""A measured map of the field as the displacements it makes of EPI, in the cosines of `epi`.

Signal of tissue that precesses f Hz too fast is seen ``f T`` voxels off along the phase-encode axis
(T: total readout time; voxels of edge s), towards higher indices where encoding runs that way
(``j``), towards lower ones where it runs against the axis (``j-``), as BIDS and SDCFlows have it::

    y(x) = x + e(x) a,     e(x) = ±f(x) T s

A map is measured where signal is, with noise, and knows places as they truly are. So e is first
made smooth everywhere, then turned round into ``d(y) = x - y``, where voxels show it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unimo_bids.deformation.epi import LEAST_DENSITY, ShiftField, empty_field
from unimo_bids.deformation.solver import conjugate_gradients
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, voxel_centers
from unimo_bids.spatial.interpolation import gaussian_blur, sample_linear

_HALF_WAVE = 15.0  # mm, of the shortest cosine: about what maps of 4 mm resolve
_BLUR = 2.0  # mm, of the map before it is read at other voxels
_BELIEVED = 0.5  # weight from which voxels tell how much noise there is
_LEAST_NOISE = 0.02  # voxels of displacement; less is not to be believed of any map
_ROUNDS = 4  # of evidence; it changes little after three
_STEPS = 60  # of conjugate gradients; 25 are enough for a head in a box of its own
# of places one voxel apart: those seen closer together are no longer told apart
_LEAST_APART = 0.6
# of displacement along the axis, downwards: a field that is 1.25 times as strong as its map, too,
# leaves the density that is wanted at least
_STEEPEST = -(1 - LEAST_DENSITY) / 1.25
_ROUNDS_OF_SLOPES = 20


@dataclass(frozen=True, eq=False)
class FieldMap:
    """A measured field.

    Attributes
    ----------
    hz
        ``(X, Y, Z)`` float32.
    weights
        ``(X, Y, Z)`` how far each voxel can be trusted, 0 to 1.
    grid
        Of both.
    readout
        Total readout time of the EPI, seconds; negative where encoding runs against the axis.
    said
        What it is, in a sentence.
    """

    hz: Tensor
    weights: Tensor
    grid: Grid
    readout: float
    said: str = "the field map"

    def on(self, grid: Grid, axis: int, first: Tensor, last: Tensor) -> ShiftField:
        """The displacements in a box of a grid whose axis is phase-encoded, less their mean.

        Parameters
        ----------
        first, last
            As in `ShiftField`.
        """
        shorter = 2 * float(grid.sizes.max())
        empty = empty_field(grid, axis, first, last, max(_HALF_WAVE, shorter))
        ends = torch.stack([first.ceil(), last.floor()], dim=1).long().tolist()
        x, y, z = (slice(start, stop + 1) for start, stop in ends)
        box = grid.part((x, y, z))
        waves = [
            empty.along(one, torch.arange(start, stop + 1, dtype=torch.float64), many)[0]
            for one, ((start, stop), many) in enumerate(
                zip(ends, empty.coefficients.shape, strict=True)
            )
        ]
        voxels, weights = self._read(box)
        mean = (weights * voxels).sum() / weights.sum().clamp(min=1e-12)
        # a map's voxel tells as much, shared by as many of the EPI's voxels as it holds
        noise = max(abs(self.readout) * self._noise(), _LEAST_NOISE)
        share = float((self.grid.sizes / grid.sizes).prod())
        c = _evident(voxels - mean, weights, waves, empty.roughness, share * noise**2)
        shown = _turned(_sum(c, waves), axis)
        back = [torch.linalg.pinv(wave) for wave in waves]
        for _ in range(_ROUNDS_OF_SLOPES):  # waves overshoot where places were held apart
            projected = _sum(shown, back)
            shown = _gentle(_sum(projected, waves), axis)
        return replace(empty, coefficients=projected * grid.sizes[axis]).limited()

    def times(self, share: float) -> FieldMap:
        """A multiple of the field."""
        return replace(self, hz=share * self.hz)

    def _noise(self) -> float:
        """Standard deviation of the map's noise, Hz, by how its voxels differ from neighbours."""
        sure = self.weights > _BELIEVED
        found = []
        for axis, n in enumerate(self.hz.shape):
            low, here, high = (torch.arange(n - 2) + start for start in range(3))
            hz = [self.hz.index_select(axis, one) for one in (low, here, high)]
            seen = [sure.index_select(axis, one) for one in (low, here, high)]
            bend = (hz[0] - 2 * hz[1] + hz[2])[seen[0] & seen[1] & seen[2]]
            if len(bend):
                found.append(float(bend.abs().median()) / (0.6745 * 6**0.5))
        return min(found, default=0.0)  # what the field itself adds is least along one axis

    def _read(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Displacements, voxels, and weights at a grid's voxels, ``(X, Y, Z)`` float64 each."""
        both = torch.stack([self.weights * self.hz, self.weights])
        blurred = gaussian_blur(both, (_BLUR / self.grid.sizes).tolist())
        places = rigid.transform(self.grid.to_index @ grid.affine, voxel_centers(grid.shape))
        ends = torch.tensor(self.grid.shape).double() - 0.5
        inside = ((places > -0.5) & (places < ends)).all(dim=1)
        hz, weights = sample_linear(blurred[None], places.float()[None])[0].double()
        weights = torch.where(inside, weights, 0.0)
        voxels = self.readout * hz / weights.clamp(min=1e-6)
        seen = weights > 1e-3  # below, there is no signal but of places a blur away
        voxels, weights = (
            torch.where(seen, one, 0.0).reshape(grid.shape) for one in (voxels, weights)
        )
        return voxels, weights


def _sum(coefficients: Tensor, waves: list[Tensor]) -> Tensor:
    """Sum of waves: ``(P, Q, R)`` and ``(X, P)``, ``(Y, Q)``, ``(Z, R)`` to ``(X, Y, Z)``."""
    return torch.einsum("pqr,xp,yq,zr->xyz", coefficients, *waves)


def _evident(
    values: Tensor, weights: Tensor, waves: list[Tensor], roughness: Tensor, variance: float
) -> Tensor:
    """Coefficients as of `_smooth`, whose expected size is found from the values themselves."""
    squares = torch.einsum("p,q,r->pqr", *[wave.square().sum(dim=0) for wave in waves])
    size = 1.0  # voxel, squared
    for _ in range(_ROUNDS):
        expected = variance / size * roughness
        c = _smooth(values, weights, waves, expected)
        data = weights.mean() * squares
        determined = float((data / (data + expected)).sum())
        size = max(float((roughness * c.square()).sum()) / max(determined, 1.0), 1e-6)
    return c


def _smooth(values: Tensor, weights: Tensor, waves: list[Tensor], roughness: Tensor) -> Tensor:
    """Coefficients c that minimise ``w (Σ c φ - values)² + roughness c²``."""
    back = [wave.mT for wave in waves]

    def normal(c: Tensor) -> Tensor:
        return _sum(weights * _sum(c, waves), back) + roughness * c

    squares = torch.einsum("p,q,r->pqr", *[wave.square().sum(dim=0) for wave in waves])
    scale = 1 / (weights.mean() * squares + roughness)
    right = _sum(weights * values, back)
    return conjugate_gradients(normal, lambda left: scale * left, right, _STEPS, relative=1e-10)


def _turned(e: Tensor, axis: int) -> Tensor:
    """Invert displacements, in voxels: from where tissue is seen to where what is seen lies.

    Where the field would fold signal, places are kept in order, with the least change.
    """
    e = e.movedim(axis, -1)
    x = torch.arange(e.shape[-1], dtype=e.dtype)
    y = _LEAST_APART * x + _rising((1 - _LEAST_APART) * x + e)
    after = torch.searchsorted(y.contiguous(), x.expand_as(y).contiguous()).clamp(1, len(x) - 1)
    low, high = y.gather(-1, after - 1), y.gather(-1, after)
    d = after - 1 + ((x - low) / (high - low)).clamp(0, 1) - x
    # beyond what is seen of the box, as at its border
    ends = torch.where(x < y[..., :1], -(y - x)[..., :1], -(y - x)[..., -1:])
    return torch.where((x < y[..., :1]) | (x > y[..., -1:]), ends, d).movedim(-1, axis)


def _gentle(d: Tensor, axis: int) -> Tensor:
    """Displacements, voxels, changed only where they fall more steeply than is allowed."""
    d = d.movedim(axis, -1)
    allowed = _STEEPEST * torch.arange(d.shape[-1], dtype=d.dtype)
    return (allowed + _rising(d - allowed)).movedim(-1, axis)


def _rising(values: Tensor) -> Tensor:
    """Values that nowhere fall along the last axis: changed only where they fall, and near it."""
    above = values.cummax(dim=-1).values
    below = values.flip(-1).cummin(dim=-1).values.flip(-1)
    return (above + below) / 2
