"""Parts of a head without signal in some frames, as slices are fitted: such places are not seen.

They are looked for anew, whatever the frames' estimate found: against the template, which has what
a reference may have lost itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.artefacts.losses import SignalLoss
from unimo_bids.motion.frames import Frames, Partial
from unimo_bids.motion.scan import CoarseFrames
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.slices.boxes import box_of
from unimo_bids.motion.slices.thresholds import MOST_LOST
from unimo_bids.motion.thresholds import LOSSES
from unimo_bids.registration.gauss_newton import register
from unimo_bids.registration.levels import Level
from unimo_bids.registration.target import make_target
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import Region

_RIM = 3  # standard deviations of the window around the head: what it sees of anything


def without_losses(
    frames: Frames, template: Tensor, head: Region, poses: Tensor, good: NDArray[np.bool_]
) -> Frames:
    """The same frames; places without signal are known to be lost where the rest is explained.

    Parameters
    ----------
    template
        ``(X, Y, Z)``
    poses
        ``(T, 4, 4)`` of the frames.
    good
        ``(T,)`` which of these are believed.
    """
    level = _around(head, poses[torch.from_numpy(good)], CoarseFrames(frames, head, _silent).level)
    image, weights = level.image(torch.stack([template, head.weights]))
    look = SignalLoss.at(level, image, weights, head.radius)
    target = make_target(
        [image[None]],
        weights.clamp(0, 1),
        level,
        center=head.center,
        radius=head.radius,
        model="bias",
        max_points=MotionSettings().coarse_points,
    )
    lost = {}
    for t in np.flatnonzero(good).tolist():
        frame = level.image(frames([t]))
        kept, without = look(frame[0], poses[t])
        if not LOSSES.fewest <= without <= MOST_LOST.share:
            continue
        rest = register(
            target, frame[None], poses[t][None], iterations=1, tolerance=0.0, valid=kept[None]
        )
        if float(rest.similarity) > LOSSES.explained and float(rest.in_view) > LOSSES.seen:
            lost[t] = 1 - kept
    return Partial(frames, level.grid, lost) if lost else frames


def _around(head: Region, poses: Tensor, level: Level) -> Level:
    """A level of the places where the head is in the reference, or at poses ``(T, 4, 4)``."""
    rim = _RIM * LOSSES.window * head.radius / level.grid.sizes
    poses = torch.cat([torch.eye(4, dtype=torch.float64)[None], poses])
    box = box_of(head.weights > 0, head.grid, poses, level.grid, rim)
    x, y, z = (matrix[part] for matrix, part in zip(level.matrices, box, strict=True))
    moved = torch.eye(4, dtype=torch.float64)
    moved[:3, 3] = torch.tensor([part.start for part in box])
    grid = Grid((len(x), len(y), len(z)), level.grid.affine @ moved)
    return replace(level, matrices=(x, y, z), grid=grid)


def _silent(_share: float, _what: str) -> None:
    """Report no progress."""
