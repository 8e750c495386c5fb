"""The brain in one volume, by trained networks, and why that may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.brain.mask import (
    SURE,
    Bool3,
    BrainMask,
    Candidate,
    Outlined,
    ball_volume,
    brain_radius,
    in_body,
    outlined,
    solidity,
    structure,
)
from unimo_bids.brain.network import BrainNetworks
from unimo_bids.brain.segmentation import Segmented, follow_brain, segment_brain
from unimo_bids.brain.thresholds import DOUBTS, RANKING
from unimo_bids.brain.upright import Upright
from unimo_bids.networks.weights import FOLDER, load_weights
from unimo_bids.spatial.grid import voxel_sizes
from unimo_bids.words import Population

METHOD = "neural networks"
UNCLEAR = "its outline is not clear"
UNSURE = "it may be no brain"
CUT = "the field of view cuts it"
IN_BODY = "it lies in a body, as only that of a fetus does"

# ml: from 18 weeks; newborns to two years; the largest skulls. A rim and fluid included.
_VOLUMES: dict[Population | None, tuple[float, float]] = {
    "fetal": (15, RANKING.largest_unborn_ml),
    "infant": (200, 1400),
    "adult": (750, 2300),
    None: (15, 2300),
}
_OWNERS = {"fetal": "a fetal", "infant": "an infant", "adult": "an adult", None: "any"}


class BrainFinder:
    """Finds brains in volumes of one grid.

    Parameters
    ----------
    affine
        ``(4, 4)`` indices → RAS mm.
    device
        Where to compute.
    trained
        The networks, there; the shipped ones if not given.
    """

    def __init__(
        self,
        affine: NDArray[np.float64],
        device: str = "cpu",
        trained: BrainNetworks | None = None,
    ) -> None:
        self._affine = np.asarray(affine, dtype=np.float64)
        self._sizes = tuple(voxel_sizes(torch.from_numpy(self._affine)).tolist())
        self._device = device
        self._networks = trained or _networks(device)

    def find(
        self,
        volume: NDArray[np.generic],
        population: Population | None = None,
        center: Sequence[float] | None = None,
    ) -> Segmented:
        """Find a brain in a volume ``(X, Y, Z)``: anywhere, or about a place ``(3,)``, RAS mm."""
        upright = Upright(self._affine, volume.shape)
        within = None if center is None else upright.along_axes(center)
        smallest, largest = _VOLUMES[population]
        # an outline may be too wide or narrow: one beyond the limits is doubted, not passed over
        volumes = smallest / RANKING.off_volume, largest * RANKING.off_volume
        turned = self._tensor(upright.turned(volume))
        found = segment_brain(turned, upright.sizes.tolist(), self._networks, volumes, within)
        return replace(found, probability=upright.back(found.probability))

    def anywhere(self, volume: NDArray[np.generic]) -> Outlined:
        """Outline a brain in a volume ``(X, Y, Z)``; all 0 if there is none."""
        return outlined(self.find(volume).probability, self._affine)

    def follow(self, volume: NDArray[np.generic], like: Outlined) -> Outlined:
        """Outline the brain that is about where another frame has it; all 0 if it is not there."""
        upright = Upright(self._affine, volume.shape)
        sure = like == SURE
        center = np.argwhere(upright.turned(sure)).mean(axis=0) * upright.sizes
        size = float(sure.sum() * np.prod(self._sizes) / 1000)
        turned = self._tensor(upright.turned(volume))
        found = follow_brain(turned, upright.sizes.tolist(), self._networks, center, size)
        return outlined(upright.back(found.probability), self._affine)

    def judged(
        self,
        found: Segmented,
        volume: NDArray[np.generic],
        population: Population | None,
        *,
        pointed: bool = False,
    ) -> BrainMask | None:
        """Say why what was found in a volume may be wrong; None if nothing was.

        That it may be no brain is not said where a person has `pointed` at it.
        """
        mask = outlined(found.probability, self._affine)
        sure = mask == SURE
        if not sure.any():
            return None
        doubts = self._doubts(found, sure, volume, population)
        if not pointed and found.places and found.places[0].confidence < DOUBTS.sure:
            doubts.append(UNSURE)
        return BrainMask(
            mask=mask > 0,
            probability=found.probability,
            radius_mm=brain_radius(mask > 0, self._affine),
            method=METHOD,
            doubts=tuple(doubts),
            candidates=self.candidates(found),
        )

    def candidates(self, found: Segmented) -> tuple[Candidate, ...]:
        """All places that were looked at, in the world; the chosen one first, if there is one."""
        world = Upright(self._affine, found.probability.shape).world
        return tuple(
            Candidate(tuple(world(one.center).tolist()), one.volume, one.confidence)
            for one in found.places
        )

    def _doubts(
        self,
        found: Segmented,
        mask: Bool3,
        volume: NDArray[np.generic],
        population: Population | None,
    ) -> list[str]:
        doubts = []
        if found.rivals:
            others = "another region looks" if found.rivals == 1 else "other regions look"
            doubts.append(f"{others} like a brain as well (twins?)")
        radius = brain_radius(mask, self._affine)
        smallest, largest = _VOLUMES[population]
        size = mask.sum() * np.prod(self._sizes) / 1000
        if ball_volume(radius) < smallest or size > largest:
            doubts.append(
                f"its volume, {size:.0f} ml, is not that of {_OWNERS[population]} brain "
                f"({smallest:g} to {largest:g} ml)"
            )
        if _area_at_edges(mask, self._sizes) > DOUBTS.cut * np.pi * radius**2:
            doubts.append(CUT)
        if found.probability[mask].mean() < DOUBTS.probability:
            doubts.append(UNCLEAR)
        if solidity(mask, self._sizes) < DOUBTS.solid:
            doubts.append("its shape is not that of a brain")
        if structure(volume, mask, self._sizes) < DOUBTS.flat:
            doubts.append("there is nothing to see in it (a phantom?)")
        unborn = population == "fetal" or (population is None and size <= RANKING.largest_unborn_ml)
        if not unborn and in_body(volume, mask, self._sizes) > DOUBTS.most_tissue:
            doubts.append(IN_BODY)
        if _dark_share(volume, mask) > DOUBTS.most_dark:
            doubts.append("part of it is dark (face, neck, or lost signal)")
        return doubts

    def _tensor(self, volume: NDArray[np.generic]) -> torch.Tensor:
        finite = np.nan_to_num(np.asarray(volume, dtype=np.float32), posinf=0, neginf=0)
        return torch.from_numpy(finite).to(self._device)


@cache
def _networks(device: str) -> BrainNetworks:
    trained = BrainNetworks()
    load_weights(trained, FOLDER / "brain.safetensors")
    return trained.to(device)


def _dark_share(volume: NDArray[np.generic], mask: Bool3) -> float:
    """How much of a mask is darker than a third of what is usual in it, about."""
    values = np.nan_to_num(np.asarray(volume, dtype=np.float32)[mask])
    return float((values < DOUBTS.dark * np.median(values)).mean())


def _area_at_edges(mask: Bool3, sizes: tuple[float, ...]) -> float:
    """How much of a mask, mm², lies in the first and last slices of the volume."""
    return sum(
        float(mask.take(edge, axis).sum()) * float(np.prod(sizes)) / sizes[axis]
        for axis in range(3)
        for edge in (0, -1)
    )
