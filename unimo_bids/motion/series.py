"""Head motion of a 4D series: from the file's voxels to a pose for every frame.

The way of a series: find a still reference frame → follow the head coarsely through all frames
(`tracking`) → average the best aligned frames (`template`) → refine every frame to that template
at full resolution (`registration`) → judge every pose and bridge what failed (`quality`).
Frames are read a few at a time; what is kept of all of them is a coarse copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.contrast import contrast_images, leap, update
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.levels import Level, make_level
from unimo_bids.motion.masks import ADULT_RADIUS, centroid, foreground, radius_of, soft_weights
from unimo_bids.motion.quality import bridge, similarity_threshold
from unimo_bids.motion.registration import IntensityModel, Target, make_target, register
from unimo_bids.motion.template import (
    align,
    choose_frames,
    choose_reference,
    robust_mean,
)
from unimo_bids.motion.tracking import Targets, Track, track
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grids import index_map, voxel_sizes

Progress = Callable[[float, str], None]

# voxels around the head that a window keeps: what blur and spline prefilter reach, and GN's steps
_WINDOW_RIM = 8
# frames in the template: more lower its noise no further than interpolation allows
_MOST_FRAMES = 24
# with several contrasts, template and poses improve each other this often
_CONTRAST_ROUNDS = 6


@dataclass(frozen=True)
class MotionSettings:
    """What an estimate depends on besides the data.

    Attributes
    ----------
    fine_blur
        Standard deviation of the blur at full resolution, in (the largest) voxel edges. Less
        blur lets aliasing bias the pose, more drowns it in noise.
    fine_points
        Points used at full resolution, those with most information.
    coarse_points
        The same for tracking.
    tolerance
        Refinement stops when a step moves the head by less, mm.
    template
        Register to the robust mean of aligned frames (second pass), not to the reference alone.
    search
        Search all rotations for frames that are not explained otherwise.
    """

    fine_blur: float = 0.7
    fine_points: int = 20_000
    coarse_points: int = 8_192
    tolerance: float = 0.005
    template: bool = True
    search: bool = True


@dataclass(frozen=True)
class MotionEstimate:
    """Head motion of a series of T frames.

    Attributes
    ----------
    poses
        ``(T, 4, 4)`` float64 RAS mm, reference → volume; the reference's is the identity.
    covariance
        ``(T, 6, 6)`` of a small motion of the reference before the pose: rotation vector (rad)
        about `center` and translation (mm).
    similarity
        ``(T,)`` correlation of each frame with the template at its pose, 0 … 1; NaN without image.
    status
        ``(T,)`` str: ``ok``; ``searched`` (found only by the global search); ``bridged`` (not
        registered: taken from the frames around it); ``lost`` (no pose to believe).
    template
        ``(X, Y, Z)`` float32 robust mean of aligned frames, on the grid of the series.
    mask
        ``(X, Y, Z)`` float32 soft weights that registration used.
    reference
        Index of the frame that all poses are relative to.
    center
        ``(3,)`` RAS mm, centre of the masked head in the reference.
    radius
        mm, of a ball with the masked head's volume.
    """

    poses: NDArray[np.float64]
    covariance: NDArray[np.float64]
    similarity: NDArray[np.float64]
    status: NDArray[np.str_]
    template: NDArray[np.float32]
    mask: NDArray[np.float32]
    reference: int
    center: NDArray[np.float64]
    radius: float


def estimate_motion(
    series: Any,
    affine: NDArray[np.float64],
    *,
    mask: NDArray[Any] | None = None,
    reference: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    settings: MotionSettings | None = None,
    progress: Progress | None = None,
) -> MotionEstimate:
    """Estimate the rigid head motion of a series.

    Parameters
    ----------
    series
        ``(X, Y, Z, T)`` array or anything indexed like one.
    affine
        ``(4, 4)`` voxel → RAS mm.
    mask
        What moves rigidly: ``(X, Y, Z)`` in the reference frame, bool or soft (0 … 1), or
        ``(X, Y, Z, T)``, one per frame: registration looks at the reference's, the others only
        say where the head's centre is. Without a mask, everything that is not air.
    reference
        Frame that poses are relative to; ``"auto"`` takes a still one.
    progress
        Called with the share done and what is being done.

    Examples
    --------
    >>> import nibabel
    >>> image = nibabel.load("sub-01_task-rest_bold.nii.gz")      # doctest: +SKIP
    >>> motion = estimate_motion(image.dataobj, image.affine)     # doctest: +SKIP
    >>> motion.poses.shape, set(motion.status)                    # doctest: +SKIP
    ((300, 4, 4), {'ok'})
    """
    with torch.inference_mode():
        return _Estimation(series, affine, mask, device, settings, progress).run(reference)


@dataclass
class _Refined:
    """Poses at full resolution and what is known of them, one row per frame."""

    poses: Tensor
    covariance: Tensor
    similarity: NDArray[np.float64]
    in_view: NDArray[np.float64]


class _Estimation:
    """One run of `estimate_motion`: what its steps share."""

    def __init__(
        self,
        series: Any,
        affine: NDArray[np.float64],
        mask: NDArray[Any] | None,
        device: str | torch.device,
        settings: MotionSettings | None,
        progress: Progress | None,
    ) -> None:
        self.device = torch.device(device)
        self.settings = settings or MotionSettings()
        self.frames = Frames(series, self.device)
        self.affine = torch.as_tensor(np.asarray(affine, dtype=np.float64))
        self.sizes = voxel_sizes(self.affine)
        self.fine_blur = self.settings.fine_blur * float(self.sizes.max())
        self.given_mask = None if mask is None else np.asarray(mask)
        if self.given_mask is not None:
            grid = (*self.frames.shape, self.frames.count)[: max(3, self.given_mask.ndim)]
            if self.given_mask.shape != grid:
                raise ValueError(f"mask {self.given_mask.shape} on a series {grid}")
        self._progress = progress or (lambda _share, _what: None)
        self._done = 0.0

    def level(self, **options: Any) -> Level:
        return make_level(self.frames.shape, self.affine, device=self.device, **options)

    def progress(self, share: float, what: str) -> None:
        self._done = max(self._done, share)  # a second refinement does not go back
        self._progress(self._done, what)

    def run(self, reference: int | Literal["auto"]) -> MotionEstimate:
        count = self.frames.count
        usable, chosen = self._scan(reference)
        self.reference = chosen
        raw_reference = self.frames([chosen])[0]
        self._find_head(raw_reference)

        tracked = self._track(raw_reference, usable)
        good = usable & (tracked.similarity >= similarity_threshold(tracked.similarity[usable]))
        good[chosen] = True
        template = raw_reference[None]
        poses = tracked.poses
        contrasts = False
        if self.settings.template and count > 2:
            poses, averaged = self._choose(raw_reference, tracked, good)
            aligned = self._aligned(poses, averaged)
            template = robust_mean(aligned)[None]
            contrasts = len(contrast_images(aligned, template[0], self.weights, shared_by=1)) > 0
        refined = self._refine(template, poses, usable)
        if contrasts:
            template, poses = self._separate_contrasts(refined.poses, good)
            refined = self._refine(template, poses, usable)
        return self._judge(refined, usable, tracked, template)

    def _scan(self, reference: int | Literal["auto"]) -> tuple[NDArray[np.bool_], int]:
        """Which frames hold an image, and which one to start from."""
        count = self.frames.count
        usable = np.zeros(count, dtype=bool)
        level = self.level(blur=4.0, spacing=8.0)
        small = []
        for chunk in self.frames.chunks(range(count)):
            images = level.image(self.frames(chunk)).reshape(len(chunk), -1)
            usable[list(chunk)] = (images.std(dim=1) > 1e-6 * images.abs().amax(dim=1)).cpu()
            small.append(images)
            self.progress(0.1 * (chunk[-1] + 1) / count, "reading")
        images = torch.cat(small)
        if not usable.any():
            raise ValueError("no frame holds an image: all are empty or constant")
        chosen = choose_reference(images, usable) if reference == "auto" else int(reference)
        if not 0 <= chosen < count:
            raise ValueError(f"reference {chosen}: the series has frames 0 … {count - 1}")
        if not usable[chosen]:
            raise ValueError(f"reference {chosen}: the frame is empty or constant")
        bright = torch.quantile(images[chosen], 0.98)
        self.frames.scale = float(bright) if bright > 0 else float(images[chosen].abs().max())
        return usable, chosen

    def _find_head(self, raw_reference: Tensor) -> None:
        """Mask of the reference, its weights, centre and size."""
        if self.given_mask is None:
            mask = foreground(raw_reference, self.affine)
        else:
            mask_array = self.given_mask
            if mask_array.ndim == 4:
                mask_array = mask_array[..., self.reference]
            mask = torch.from_numpy(mask_array.astype(np.float32)).to(self.device).clamp(0, 1)
            if not bool((mask > 0.5).any()):
                raise ValueError("the mask is empty")
        self.radius = min(radius_of(mask, self.affine), 1.5 * ADULT_RADIUS)
        self.center = centroid(mask, self.affine).to(self.device)
        reach = max(3.0 * self.radius / ADULT_RADIUS, 0.8 * float(self.sizes.max()))
        self.mask = mask
        self.weights = soft_weights(mask, self.affine, reach)

    def _target(self, volumes: Tensor, level: Level, points: int, model: IntensityModel) -> Target:
        return make_target(
            [level.image(volumes)],
            level.image(self.weights).clamp(0, 1),
            level,
            center=self.center,
            radius=self.radius,
            model=model,
            max_points=points,
        )

    def _track(self, raw_reference: Tensor, usable: NDArray[np.bool_]) -> Track:
        # 5 mm of blur for an adult brain, in proportion for smaller ones
        blur = max(5.0 * self.radius / ADULT_RADIUS, 0.7 * float(self.sizes.max()))
        level = self.level(blur=blur, spacing=1.2 * blur)
        count = self.frames.count
        images = torch.empty((count, *level.shape), dtype=torch.float16, device=self.device)
        for chunk in self.frames.chunks(range(count)):
            images[chunk[0] : chunk[-1] + 1] = level.image(self.frames(chunk)).clamp(-6e4, 6e4)
            self.progress(0.1 + 0.1 * (chunk[-1] + 1) / count, "coarse images")
        points = self.settings.coarse_points
        targets = Targets(
            stiff=self._target(raw_reference[None], level, points, "gain"),
            flexible=self._target(raw_reference[None], level, points, "bias"),
        )
        self.progress(0.2, "tracking")
        return track(
            targets,
            images,
            level.image(raw_reference),
            level.image(self.weights).clamp(0, 1),
            usable,
            starts=self._mask_starts(),
            search=self.settings.search,
        )

    def _mask_starts(self) -> Tensor | None:
        """Where masks of every frame put the head's centre; they know nothing of its turns."""
        if self.given_mask is None or self.given_mask.ndim != 4:
            return None
        starts = torch.eye(4, dtype=torch.float64, device=self.device)
        starts = starts.repeat(self.frames.count, 1, 1)
        for t in range(self.frames.count):
            mask = torch.from_numpy(self.given_mask[..., t].astype(np.float32)).to(self.device)
            if bool((mask > 0.5).any()):
                starts[t, :3, 3] = centroid(mask, self.affine) - self.center
        return starts

    def _choose(
        self, raw_reference: Tensor, tracked: Track, good: NDArray[np.bool_]
    ) -> tuple[Tensor, list[int]]:
        """Frames for the template, finely aligned to the reference (the others as they were)."""
        rest = torch.eye(4, dtype=torch.float64, device=self.device)
        moved = rigid.displacement(tracked.poses, rest, self._extent()).mean(dim=-1)
        wanted = int(np.clip(len(good) // 4, 6, _MOST_FRAMES))
        chosen = choose_frames(
            self.reference, tracked.similarity, moved.cpu().numpy(), good, wanted
        )
        fine = self._refine(
            raw_reference[None], tracked.poses, _only(chosen, len(good)), share=0.0
        ).poses
        poses = tracked.poses.clone()
        poses[chosen] = fine[chosen]
        poses[self.reference] = rest
        return poses, chosen

    def _spread(self, good: NDArray[np.bool_]) -> list[int]:
        """The reference and good frames from the whole series."""
        others = np.flatnonzero(good & (np.arange(len(good)) != self.reference))
        picked = np.linspace(0, len(others) - 1, min(len(others), _MOST_FRAMES)).round()
        return [self.reference, *others[picked.astype(int)].tolist()]

    def _aligned(self, poses: Tensor, chosen: list[int]) -> Tensor:
        return align(self.frames(chosen), poses[chosen], self.affine.to(self.device), self.weights)

    def _separate_contrasts(self, poses: Tensor, good: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """Template images for a series of changing contrast, and poses that agree with them."""
        chosen = self._spread(good)
        wanted = _only(chosen, len(good))
        last: Tensor | None = None
        for _ in range(_CONTRAST_ROUNDS):
            template = self._contrast_template(poses, chosen)
            before = poses
            poses = self._refine(template, poses, wanted, share=0.0).poses
            # the gauge: the reference stays at rest
            poses[chosen] = poses[chosen] @ rigid.inverse(poses[self.reference])
            pair = before[chosen], poses[chosen]
            if last is None:
                last = update(*pair, self.center, self.radius)
            else:
                poses[chosen] = leap(*pair, last, self.center, self.radius)
                last = None
        return self._contrast_template(poses, chosen), poses

    def _contrast_template(self, poses: Tensor, chosen: list[int]) -> Tensor:
        aligned = self._aligned(poses, chosen)
        mean = robust_mean(aligned)
        return torch.cat([mean[None], contrast_images(aligned, mean, self.weights)])

    def _extent(self) -> Tensor:
        """Six points on the head's surface, ``(6, 3)`` mm."""
        arms = torch.eye(3, dtype=torch.float64, device=self.device) * self.radius
        return self.center + torch.cat([arms, -arms])

    def _refine(
        self, volumes: Tensor, poses: Tensor, wanted: NDArray[np.bool_], share: float = 0.7
    ) -> _Refined:
        """Poses of the wanted frames against images ``(J, X, Y, Z)``, at full resolution."""
        count = self.frames.count
        whole = self.level(blur=self.fine_blur, cubic=True)
        target = self._target(volumes, whole, self.settings.fine_points, "bias")
        poses = poses.clone()
        covariance = torch.full((count, 6, 6), torch.nan, dtype=torch.float64, device=self.device)
        similarity, in_view = np.full(count, np.nan), np.full(count, np.nan)
        places = np.flatnonzero(wanted)
        for chunk in self.frames.chunks(places.tolist()):
            rows = list(chunk)
            window = self._window(target, poses[rows])
            first, size = [s.start for s in window], [s.stop - s.start for s in window]
            level = make_level(
                size,
                self.affine,
                blur=self.fine_blur,
                cubic=True,
                first_voxel=first,
                device=self.device,
            )
            raw = self.frames(rows)[:, window[0], window[1], window[2]]
            found = register(
                target,
                level.sampled(raw)[:, None],
                poses[rows],
                level=level,
                tolerance=self.settings.tolerance,
            )
            poses[rows] = found.poses
            covariance[rows] = found.covariance
            similarity[rows] = found.similarity.cpu().numpy()
            in_view[rows] = found.in_view.cpu().numpy()
            if share:
                self.progress(1 - share + share * (rows[-1] + 1) / count, "refining")
        return _Refined(poses, covariance, similarity, in_view)

    def _window(self, target: Target, poses: Tensor) -> tuple[slice, slice, slice]:
        """The voxels that the target's points can reach in these frames."""
        corners = torch.stack([target.points.amin(dim=0), target.points.amax(dim=0)]).double()
        box = torch.cartesian_prod(*corners.T) + target.center
        indices = rigid.transform(
            index_map(self.affine.to(poses), poses, torch.eye(4).to(poses)), box
        )
        low = indices.amin(dim=(0, 1)).floor().long() - _WINDOW_RIM
        high = indices.amax(dim=(0, 1)).ceil().long() + _WINDOW_RIM + 1
        slices = []
        for axis, n in enumerate(self.frames.shape):
            start = int(low[axis].clamp(0, max(0, n - 2 * _WINDOW_RIM)))
            stop = int(high[axis].clamp(min(n, start + 2 * _WINDOW_RIM), n))
            slices.append(slice(start, stop))
        return slices[0], slices[1], slices[2]

    def _judge(
        self, refined: _Refined, usable: NDArray[np.bool_], tracked: Track, template: Tensor
    ) -> MotionEstimate:
        score = refined.similarity * np.minimum(refined.in_view / 0.5, 1)  # a sliver fits anything
        good = usable & (score >= similarity_threshold(score[usable]))
        good[self.reference] = True
        poses, covariance, bridged = bridge(
            refined.poses.cpu(),
            refined.covariance.cpu(),
            good,
            score,
            self.center.cpu(),
            self.radius,
        )
        poses = rigid.orthonormalized(poses @ rigid.inverse(poses[self.reference]))
        poses[self.reference] = torch.eye(4, dtype=torch.float64)
        status = np.where(tracked.searched, "searched", "ok").astype("<U8")
        status[~good] = "lost"
        status[bridged] = "bridged"
        self.progress(1.0, "done")
        return MotionEstimate(
            poses=poses.numpy(),
            covariance=covariance.numpy(),
            similarity=refined.similarity,
            status=status,
            template=(template[0] * self.frames.scale).cpu().numpy(),
            mask=self.weights.cpu().numpy(),
            reference=self.reference,
            center=self.center.cpu().numpy(),
            radius=self.radius,
        )


def _only(chosen: list[int], count: int) -> NDArray[np.bool_]:
    wanted = np.zeros(count, dtype=bool)
    wanted[chosen] = True
    return wanted
