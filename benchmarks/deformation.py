"""Two volumes that a known field bends: the network, what refines it, and SyN.

Fields are Gaussian bumps, which are no sums of the waves that are looked for: three along one axis
with their Jacobian, as in EPI, or three that push anywhere, as tissue. What they hold of a rigid
motion is taken out, into the pose of the moving object. Rendered from the continuous object by
`unimo_bids.simulation`, which the network's training does not use.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from benchmarks.metrics import dice
from benchmarks.modalities import T1, T2
from benchmarks.table import number
from unimo_bids.deformation.matching import Flow, carried, displacement, register
from unimo_bids.deformation.shape import jacobian_determinant, without_rigid
from unimo_bids.markdown import markdown_table
from unimo_bids.networks.deformation import Window, prepared, shipped_network
from unimo_bids.simulation.anatomy import adult_head
from unimo_bids.simulation.fetal import fetal_head
from unimo_bids.simulation.render import blurred, sample
from unimo_bids.simulation.shapes import centered_affine
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Field

AXIS = 1
KINDS = ("EPI", "tissue", "EPI, other contrast", "none")
STEPS = 5  # of Gauss–Newton
ITERATIONS = (1, 2, 4)
_SHAPE = (40, 40, 40)
_VOXELS = 3.4  # of the grid's edge, radii of the brain
_HEIGHT_MM = {"fetal": 5.0, "adult": 7.0}  # of the largest bump, about
_WIDTH = 0.45  # of a bump, radii
_NOISE, _BIAS = 0.03, 0.2


@dataclass(frozen=True)
class BentPair:
    """Two volumes, and how the fixed one is bent.

    Attributes
    ----------
    volumes, masks
        ``(2, X, Y, Z)`` of fixed and moving.
    tissues
        ``(2, L, X, Y, Z)`` shares of the tissues of the brain.
    displacement
        ``(3, X, Y, Z)`` mm: ``moving(x + u(x))`` shows what ``fixed(x)`` does.
    """

    grid: Grid
    volumes: Tensor
    masks: Tensor
    tissues: Tensor
    displacement: Tensor


Way = Callable[[BentPair], Tensor]


def judge(objects: list[str], count: int, threads: int) -> int:
    """Print the tables."""
    torch.set_num_threads(threads)
    ways: dict[str, Way] = {
        "rigid": lambda pair: torch.zeros_like(pair.displacement),
        "one step, no network": _one_step,
        "U-Net": lambda pair: _refined(pair, 0, start=True),
        "SVF": lambda pair: _refined(pair, STEPS, start=False),
        "U-Net + SVF": lambda pair: _refined(pair, STEPS, start=True),
        "LDDMM": lambda pair: _refined(pair, STEPS, start=False, flow="lddmm"),
    }
    if find_spec("ants") is None:
        print("SyN is left out: antspyx is not installed (pip install antspyx)")
    else:
        ways |= {"SyN": _syn, "SyN along the axis": lambda pair: _syn(pair, along=AXIS)}
    heads = ", ".join(objects)
    rows, steps = [], []
    for kind in KINDS:
        pairs = [bent_pair(name, kind, seed) for name in objects for seed in range(count)]
        found = {name: [_timed(way, pair) for pair in pairs] for name, way in ways.items()}
        for name, results in found.items():
            rows.append([heads, kind, name, *_line(pairs, results)])
            print("; ".join(rows[-1]), flush=True)
        flows = zip(pairs, found["SVF"], found["LDDMM"], strict=True)
        apart = [_mean(pair, svf - lddmm) for pair, (svf, _), (lddmm, _) in flows]
        print(f"{kind}: SVF and LDDMM are {number(float(np.mean(apart)))} mm apart", flush=True)
        if kind in ("EPI", "tissue"):
            steps += [[heads, kind, *line] for line in _by_iterations(pairs)]
    columns = ["head", "bent as", "by", "off, mm", "95 %", "Dice", "least Jacobian", "CPU s"]
    print(markdown_table([columns, *rows]))
    columns = ["head", "bent as", "steps", "from nothing: mm", "CPU s"]
    columns += ["from the U-Net: mm", "CPU s"]
    print(markdown_table([columns, *steps]))
    print(f"U-Net, 96³ voxels: {_seconds_of_one_pass():.2f} CPU s")
    return 0


def bent_pair(name: str, kind: str, seed: int) -> BentPair:
    """Render a fetal or adult head twice, the fixed one bent."""
    rng = np.random.default_rng([seed, 83])
    head = adult_head(seed=seed) if name == "adult" else fetal_head(25.0 + 3 * seed, seed=seed)
    affine = centered_affine(_SHAPE, _VOXELS * head.radius / _SHAPE[0])
    grid = Grid.of(_SHAPE, affine)
    points = grid.points()
    bent = torch.zeros_like(points)
    if kind != "none":
        bent = _bumps(points, head.radius, _HEIGHT_MM[name], rng, along=kind.startswith("EPI"))
    slope = torch.gradient(bent[:, AXIS].reshape(_SHAPE), spacing=float(grid.sizes[AXIS]), dim=AXIS)
    squeeze = 1 + slope[0] if kind.startswith("EPI") else torch.ones(_SHAPE)
    gains = np.exp(np.random.default_rng(7).normal(0, 0.35, len(head.intensities)))
    other = T2 if name == "adult" else head.intensities * gains.astype(np.float32)
    looks = [T1 if name == "adult" else head.intensities] * 2
    looks[1] = other if "other" in kind else looks[0]
    shares = [(head.labels == label).astype(np.float32) for label in head.brain_labels]

    def shown(look: np.ndarray, places: Tensor) -> Tensor:
        images = [head.image(look) * head.presence(), head.brain_fraction(), *shares]
        source = blurred(images, head.affine, float(grid.sizes[0]))
        return sample(source, places.float()).reshape(-1, *_SHAPE)

    fixed = shown(looks[0], points + bent)
    whole = Field(grid, bent.mT.reshape(3, *_SHAPE).float())
    left, pose = without_rigid(whole, fixed[1].clamp(0, 1))
    moving = shown(looks[1], rigid.transform(pose, points))
    fixed[0] *= squeeze.float()
    both = torch.stack([fixed, moving])
    for side in (0, 1):
        field = torch.from_numpy(rng.standard_normal(3) / 100) * _BIAS
        both[side, 0] *= torch.exp(points @ field).reshape(_SHAPE).float()
        both[side, 0] += _NOISE * 1000 * torch.from_numpy(rng.standard_normal(_SHAPE)).float()
    return BentPair(grid, both[:, 0], both[:, 1].clamp(0, 1), both[:, 2:], left.displacement)


def _bumps(
    points: Tensor, radius: float, height: float, rng: np.random.Generator, *, along: bool
) -> Tensor:
    """Displacement ``(N, 3)`` mm: three Gaussian bumps, along one axis or anywhere."""
    total = torch.zeros_like(points)
    for share in (1.0, -0.8, 0.6):
        place = torch.from_numpy(rng.uniform(-0.7, 0.7, 3) * radius)
        push = np.eye(3)[AXIS] if along else rng.standard_normal(3)
        push = share * height * push / np.linalg.norm(push)
        apart = (points - place).square().sum(dim=1) / (2 * (_WIDTH * radius) ** 2)
        total += torch.exp(-apart)[:, None] * torch.from_numpy(push)
    return total


def _one_step(pair: BentPair) -> Tensor:
    window = Window.about(pair.grid, pair.masks[0])
    images = torch.stack([window.read(image) for image in pair.volumes])
    step = prepared(images[None], None).step[0]
    return displacement(window.velocity(step), window.modes, pair.grid)


def _refined(pair: BentPair, iterations: int, *, start: bool, flow: Flow = "svf") -> Tensor:
    window = Window.about(pair.grid, pair.masks[0])
    fixed, moving = pair.volumes
    velocity = torch.zeros(3, *window.modes.box.shape)
    if start:
        velocity = shipped_network().velocity(fixed, moving, window, pair.masks)
    if iterations:
        how = {"weights": pair.masks[0], "iterations": iterations, "start": velocity}
        velocity = register(fixed, moving, pair.grid, window.modes, flow=flow, **how)
    return displacement(velocity, window.modes, pair.grid, flow=flow)


def _syn(pair: BentPair, along: int | None = None) -> Tensor:
    """Of antspyx, from the identity: correlation of 5³ voxels, two levels.

    More levels, mattes, its default, and larger neighbourhoods were worse on such small grids.
    """
    import ants

    corner = tuple(pair.grid.affine[:3, 3].tolist())
    spacing = tuple(pair.grid.sizes.tolist())

    def image(data: Tensor) -> ants.ANTsImage:
        return ants.from_numpy(data.numpy(), origin=corner, spacing=spacing)

    restrict = None if along is None else tuple(float(axis == along) for axis in range(3))
    with TemporaryDirectory(prefix="benchmark-") as folder:
        found = ants.registration(
            image(pair.volumes[0]),
            image(pair.volumes[1]),
            "SyNOnly",
            initial_transform="identity",
            mask=image((pair.masks[0] > 0.5).float()),
            outprefix=str(Path(folder) / "syn"),
            syn_metric="CC",
            syn_sampling=2,
            reg_iterations=(30, 15),
            restrict_transformation=restrict,
        )
        field = next(path for path in found["fwdtransforms"] if path.endswith("Warp.nii.gz"))
        return torch.from_numpy(ants.image_read(field).numpy()).movedim(-1, 0).float()


def _seconds_of_one_pass() -> float:
    """The least of three, of two volumes of 96³ voxels."""
    torch.manual_seed(0)
    grid = Grid.of((96, 96, 96), np.diag([2.0, 2.0, 2.0, 1.0]))
    middle = torch.tensor(95.0)
    mask = ((grid.points() - middle).norm(dim=1) < 40).reshape(grid.shape).float()
    volumes, masks = torch.randn(2, *grid.shape), torch.stack([mask, mask])
    spent = []
    for _ in range(3):
        begun = time.process_time()
        shipped_network().velocity(*volumes, Window.about(grid, mask), masks)
        spent.append(time.process_time() - begun)
    return min(spent)


def _timed(way: Way, pair: BentPair) -> tuple[Tensor, float]:
    """Displacement, and seconds of processor time."""
    begun = time.process_time()
    return way(pair), time.process_time() - begun


def _line(pairs: list[BentPair], results: list[tuple[Tensor, float]]) -> list[str]:
    off, far, overlap, jacobian = [], [], [], []
    for pair, (found, _) in zip(pairs, results, strict=True):
        inside = pair.masks[0] > 0.5
        apart = (found - pair.displacement).norm(dim=0)[inside]
        off.append(float(apart.mean()))
        far.append(float(apart.quantile(0.95)))
        overlap.append(_dice(pair, found))
        jacobian.append(float(jacobian_determinant(Field(pair.grid, found))[inside].min()))
    seconds = np.mean([spent for _, spent in results])
    means = [number(float(np.mean(values))) for values in (off, far)]
    return [*means, f"{np.mean(overlap):.3f}", f"{min(jacobian):.2f}", f"{seconds:.2f}"]


def _dice(pair: BentPair, found: Tensor) -> float:
    """Of the tissues, mean."""
    shares = []
    for fixed, moving in zip(*pair.tissues, strict=True):
        one, other = fixed > 0.5, carried(moving, found, pair.grid) > 0.5
        shares.append(dice(one.numpy(), other.numpy()))
    return float(np.mean(shares))


def _mean(pair: BentPair, apart: Tensor) -> float:
    return float(apart.norm(dim=0)[pair.masks[0] > 0.5].mean())


def _by_iterations(pairs: list[BentPair]) -> list[list[str]]:
    """What is left after so many iterations, from nothing and from the network."""
    rows = []
    for many in ITERATIONS:
        row = [str(many)]
        for start in (False, True):
            found = [
                _timed(lambda pair, s=start, n=many: _refined(pair, n, start=s), pair)
                for pair in pairs
            ]
            off = [
                _mean(pair, at - pair.displacement)
                for pair, (at, _) in zip(pairs, found, strict=True)
            ]
            seconds = np.mean([spent for _, spent in found])
            row += [number(float(np.mean(off))), f"{seconds:.2f}"]
        rows.append(row)
    return rows
