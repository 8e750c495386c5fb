"""Frames of different contrast, tied to each other a pair at a time.

No model holds for all frames yet: each is compared with one that is placed already. Frames are
evened (relative to the average around each voxel: coils' sensitivity stays with the scanner and
would pull a turned head back), and classes of the placed frame's intensity stand for its tissues,
in any order of brightness. A frame that the reference does not explain may be explained by another
whose tissues differ as its own do, so the tree grows from frame to frame. What no frame explains
is left out.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames
from unimo_bids.motion.refinement import refine_frames
from unimo_bids.motion.thresholds import TRACKING
from unimo_bids.registration.contrast import tissue_images
from unimo_bids.registration.gauss_newton import register
from unimo_bids.registration.levels import Level, make_level
from unimo_bids.registration.target import Target, make_target
from unimo_bids.spatial import rigid
from unimo_bids.spatial.region import Region
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

_MOST_PARENTS = 12  # frames that others are tied to

# of each frame, another and its pose relative to that
Wanted = dict[int, tuple[int, Tensor]]


class Tying:
    """Tie the frames of one series.

    Parameters
    ----------
    frames
        Evened.
    coarse
        Level of the first, rough registration.
    fine
        Level of the second.
    points
        Of each.
    tolerance
        Of the second, mm.
    """

    def __init__(
        self,
        frames: Frames,
        head: Region,
        coarse: Level,
        fine: Level,
        points: tuple[int, int],
        tolerance: float,
    ) -> None:
        self.frames, self.head = frames, head
        self.coarse, self.fine, self.points = coarse, fine, points
        self.tolerance = tolerance
        self.smooth = make_level(frames.grid, blur=0.5 * frames.grid.widest, device=frames.device)
        chunks = frames.chunks(range(frames.count))
        self.images = torch.cat([coarse.image(frames(chunk)).half() for chunk in chunks])

    def __call__(
        self, reference: int, starts: Tensor, usable: NDArray[np.bool_]
    ) -> tuple[Tensor, NDArray[np.float64]]:
        """Tie all usable frames that can be to the reference, or to one that is.

        Returns their poses ``(T, 4, 4)``, and the similarity of each to the frame that it is tied
        to; 0: not tied.
        """
        poses = starts.clone()
        poses[reference] = torch.eye(4, dtype=torch.float64)
        parent = np.full(len(usable), -1)
        parent[reference] = reference
        best = np.zeros(len(usable))  # similarity of each frame to the parent that suits it best
        wanted: Wanted = {}  # that parent, and the pose relative to it
        new, used = reference, list[int]()
        while len(used) < _MOST_PARENTS:
            used.append(new)
            tissues, weights, center = self._carried(new, poses[new])
            coarse = self._target(self.coarse, tissues, weights, center, self.points[0])
            for t in np.flatnonzero(usable & (parent < 0)).tolist():
                begin = self._starts(t, poses, parent >= 0, new, starts) @ rigid.inverse(poses[new])
                score, onward = self._compared(coarse, t, begin)
                if score > best[t]:
                    best[t], wanted[t] = score, (new, onward)
            alike = np.flatnonzero((parent < 0) & (best >= TRACKING.alike)).tolist()
            left = np.flatnonzero(usable & (parent < 0) & (best < TRACKING.alike)).tolist()
            # the next of another contrast; the others may be like it, and are asked again
            next_ = max(left, key=lambda t: best[t], default=-1)
            bridging = next_ >= 0 and best[next_] >= TRACKING.tied
            self._settle([*alike, *([next_] if bridging else [])], wanted, poses, parent)
            if not left:
                break
            if bridging:
                new = next_
                continue
            ready = [t for t in np.flatnonzero(parent >= 0).tolist() if t not in used]
            if not ready:
                break
            new = min(ready, key=lambda t: best[t])
        best[reference], best[parent < 0] = 1.0, 0.0
        return rigid.orthonormalized(poses), best

    def _compared(self, target: Target, t: int, starts: Tensor) -> tuple[float, Tensor]:
        """Similarity of a frame to a placed one, and its pose relative to that."""
        image = self.images[t].float()[None, None].expand(len(starts), -1, -1, -1, -1)
        found = register(target, image, starts, tolerance=0.05)
        best = int(found.score.argmax())
        return float(found.score[best]), found.poses[best]

    def _settle(
        self, new: list[int], wanted: Wanted, poses: Tensor, parent: NDArray[np.int_]
    ) -> None:
        """Place frames, finely, relative to those that suit them."""
        for one in sorted({wanted[t][0] for t in new}):
            children = [t for t in new if wanted[t][0] == one]
            tissues, weights, center = self._carried(one, poses[one])
            fine = self._target(self.fine, tissues, weights, center, self.points[1])
            onward = poses.clone()
            onward[children] = torch.stack([wanted[t][1] for t in children])
            among = np.isin(np.arange(len(parent)), children)
            near = refine_frames(
                self.frames,
                fine,
                onward,
                among,
                tolerance=self.tolerance,
                spread=False,
            )
            poses[children] = near.poses[children] @ poses[one]
            parent[children] = one

    def _carried(self, frame: int, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A frame's tissues ``(K, X, Y, Z)``, and the head's weights and centre at its pose."""
        weights = self.head.weights
        if not torch.equal(pose, torch.eye(4).to(pose)):
            back = Rigid(rigid.inverse(pose))
            weights = resample(weights, self.head.grid, back, interpolation="linear").clamp(0, 1)
        image = self.smooth.image(self.frames([frame]))[0]
        center = rigid.transform(pose.cpu(), self.head.center.cpu()[None])[0]
        return tissue_images(image, weights), weights, center.to(self.head.center)

    def _target(
        self, level: Level, tissues: Tensor, weights: Tensor, center: Tensor, points: int
    ) -> Target:
        return make_target(
            [level.image(tissues)],
            level.image(weights).clamp(0, 1),
            level,
            center=center,
            radius=self.head.radius,
            max_points=points,
        )

    def _starts(
        self, t: int, poses: Tensor, tied: NDArray[np.bool_], one: int, known: Tensor
    ) -> Tensor:
        """Poses worth trying: known ones, rest, and those of tied frames before and after."""
        rest = torch.eye(4, dtype=torch.float64, device=poses.device)
        placed = np.flatnonzero(tied)
        near = placed[np.argsort(np.abs(placed - t), kind="stable")[:2]]
        return torch.stack([known[t], rest, poses[one], *poses[near.tolist()]])
