"""The steps of an estimate, in order.

The way of a series: find a still reference frame → follow the head coarsely through all frames
(`tracking`) → average the best aligned frames (`template`) → refine every frame to that template
at full resolution (`refinement`) → judge every pose and bridge what failed (`quality`).
Where contrast changes from frame to frame, frames are tied to each other first (`ties`), and a few
images take the template's place (`contrast`, `joint`), if frames then agree better (`judge`,
`ways`). Frames are read a few at a time; what is kept of all of them is a coarse copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.brain.head import ADULT_RADIUS, NoImageError, find_head
from unimo_bids.motion.cycles import contrast_cycle, cycle_finding, most_different, without_cycle
from unimo_bids.motion.estimate import Mode, MotionEstimate, Tracking
from unimo_bids.motion.frames import Frames, empty
from unimo_bids.motion.guesses import Guesses
from unimo_bids.motion.judge import Judge, Readings, clear
from unimo_bids.motion.quality import NEVER_FAILED, bridge, similarity_threshold, within_frame
from unimo_bids.motion.refinement import Refined, refine
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.template import (
    align,
    choose_frames,
    choose_reference,
    robust_mean,
    steadiness,
    tears,
    torn_frames,
)
from unimo_bids.motion.ties import Tying
from unimo_bids.motion.tracking import Targets, Track, track
from unimo_bids.motion.ways import Way, best_way, compared
from unimo_bids.registration.contrast import common_images, contrast_changes, leading_images
from unimo_bids.registration.gauss_newton import register
from unimo_bids.registration.intensity import LEAST_VALID
from unimo_bids.registration.joint import align_jointly
from unimo_bids.registration.levels import Level, make_level
from unimo_bids.registration.target import IntensityModel, Target, make_target
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grids import voxel_centers, voxel_sizes

Progress = Callable[[float, str], None]

# voxels around the head in a template: four widths of the blur, rounded up
_WINDOW_RIM = 3
# frames in the template: more lower its noise no further than interpolation allows
_MOST_FRAMES = 24
# frames that their best pose explains worse are not all torn: if a quarter of the series is, the
# contrast may change (three frames below 0.98 are worth a closer look, too)
_SUSPECT, _FEWEST_SUSPECTS = 0.98, 3
_UNEXPLAINED, _UNEXPLAINED_SHARE = 0.8, 0.25
_TORN = (
    "Frame {}, the reference, seems to be torn (neighbouring slices disagree more than in other "
    "frames): all poses are relative to a frame that has no single pose. Choose another."
)
_EVEN = 0.25  # radii, over which the coils' sensitivity may vary
# of tied frames: whether they are evened, and how many images beside their mean explain them at
# most. Frames that were not tied may be explained by these, and count in the next round; the last
# are of frames as they are, in which a field that stays still is a term of the model
_ROUNDS = ((True, 2), (True, 2), (False, 6), (False, 6))


class Estimation:
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

    def _level(self, **options: Any) -> Level:
        return make_level(self.frames.shape, self.affine, device=self.device, **options)

    def _tell(self, share: float, what: str) -> None:
        self._done = max(self._done, share)  # a second refinement does not go back
        self._progress(self._done, what)

    def track(self, reference: int | Literal["auto"]) -> Tracking:
        """Rough poses of all frames."""
        usable = self.scan(reference)
        if not self.settings.refine:
            return self._as_guessed(usable)
        tracked, findings = self._track_any_contrast(usable)
        return Tracking(
            reference=self.reference,
            poses=tracked.poses.cpu().numpy(),
            similarity=tracked.similarity,
            searched=tracked.searched,
            contrasts=bool(findings),
            findings=findings,
        )

    def refine(self, tracking: Tracking) -> MotionEstimate:
        """Poses at full resolution, judged, from rough ones."""
        if not hasattr(self, "head"):
            self.scan(tracking.reference)
        tracked = Track(
            torch.from_numpy(tracking.poses).to(self.device),
            tracking.similarity,
            tracking.searched.copy(),
        )
        if not self.settings.refine:
            return self._unrefined(tracked)
        ways: dict[Mode, Way] = {}
        if tracking.contrasts:  # one image has lost already, in tracking
            ways = self._any_contrast(tracked, _ROUNDS[-1:])
        else:
            plain, image, contrasts = self._refine_to_one_image(tracked)
            ways["plain"] = Way(plain, image, tracked)
            if contrasts:
                began = self._tie(plain.poses)
                ways |= self._any_contrast(began, _ROUNDS, plain.poses)
        judge = Judge(self.frames, self.affine, self.head, self.usable)
        mode, way, readings, findings = best_way(
            judge, ways, self.head.center, "common" if tracking.contrasts else "plain"
        )
        findings = (*tracking.findings, *findings)
        if self.torn_reference:
            findings = (_TORN.format(self.reference), *findings)
        if mode != "rest":
            self._do_no_harm(judge, way, readings)
        return self._judge(way, mode, findings, "tied" in ways and mode != "rest")

    def _any_contrast(
        self, tied: Track, rounds: Sequence[tuple[bool, int]], plain: Tensor | None = None
    ) -> dict[Mode, Way]:
        """Ways to explain frames whose contrast changes."""
        began = tied if plain is None else Track(plain, tied.similarity, tied.searched)
        images, followed, together = self._separate_contrasts(began)
        refined = self._refine(images, followed.poses, self.usable)
        # each on its own, frames are misled by what the images leave of them
        refined.poses[together] = followed.poses[together]
        common = Way(refined, images, followed)
        return {"common": common, "tied": self._refine_tied(tied, rounds)}

    def _do_no_harm(self, judge: Judge, way: Way, readings: Readings) -> None:
        """Start again from rest or a neighbour's pose where that clearly suits a frame better."""
        poses = way.refined.poses
        places = np.flatnonzero(self.usable)
        before, after = np.arange(len(poses)), np.arange(len(poses))
        before[places[1:]], after[places[:-1]] = places[:-1], places[1:]
        rest = torch.eye(4, dtype=torch.float64).expand(len(poses), 4, 4).to(poses)
        others = torch.stack([rest, poses[before.tolist()], poses[after.tolist()]], dim=1)
        better = judge.better(readings, others)
        better[self.reference] = -1
        frames = np.flatnonzero(better >= 0)
        if len(frames) == 0:
            return
        starts = poses.clone()
        starts[frames.tolist()] = others[frames.tolist(), better[frames].tolist()]
        again = self._refine(way.images, starts, better >= 0, share=0.01)
        way.refined.take(again, frames)
        # where that leads back to what was worse, the frame is not explained at all
        candidates = torch.stack([others[:, 0], starts], dim=1)
        (readings,) = judge.read(way.refined.poses)
        still = judge.better(readings, candidates)[frames] >= 0
        way.refined.similarity[frames[still]] = 0.0

    def scan(self, reference: int | Literal["auto"]) -> NDArray[np.bool_]:
        """Find which frames hold an image, which one to start from, and the head in it."""
        count = self.frames.count
        usable = np.zeros(count, dtype=bool)
        level = self._level(blur=4.0, spacing=8.0)
        small, torn = [], []
        for chunk in self.frames.chunks(range(count)):
            raw = self.frames(chunk)
            torn.append(tears(raw))
            images = level.image(raw).reshape(len(chunk), -1)
            usable[list(chunk)] = (images.std(dim=1) > 1e-6 * images.abs().amax(dim=1)).cpu()
            small.append(images)
            self._tell(0.1 * (chunk[-1] + 1) / count, "reading")
        images = torch.cat(small)
        if not usable.any():
            raise NoImageError("no frame holds an image: all are empty or constant, or nearly so")
        whole = usable & ~torn_frames(torch.cat(torn).cpu().numpy(), usable)
        chosen = choose_reference(images, whole) if reference == "auto" else int(reference)
        if not 0 <= chosen < count:
            raise ValueError(f"reference {chosen}: the series has frames 0 … {count - 1}")
        if not usable[chosen]:
            raise NoImageError(f"reference {chosen}: the frame is empty or constant, or nearly so")
        bright = torch.quantile(images[chosen], 0.98)
        self.frames.scale = float(bright) if bright > 0 else float(images[chosen].abs().max())
        self.usable = usable
        self.reference = chosen
        self.torn_reference = not whole[chosen]
        self.raw_reference = self.frames([chosen])[0]
        mask = self.given_mask
        self.head = find_head(
            self.raw_reference,
            self.affine,
            mask[..., chosen] if mask is not None and mask.ndim == 4 else mask,
            largest=1.5 * ADULT_RADIUS,
        )
        self.window = self.head.window(_WINDOW_RIM)
        self.steady = torch.ones_like(self.head.weights)
        self.guesses = Guesses(
            self.frames, self.affine, mask, chosen, self.head, self.settings.fusion
        )
        return usable

    def _target(self, images: Tensor, level: Level, points: int, model: IntensityModel) -> Target:
        """Target of images ``(J, X, Y, Z)`` at full resolution, any combination of which counts."""
        weights = level.image(self.head.weights * self.steady).clamp(0, 1)
        nothing = empty(images[:1])[0]
        if bool(nothing.any()):  # the border of what was seen is no edge of the head
            weights = weights * (level.image(1 - nothing) > LEAST_VALID)
        return make_target(
            [level.image(images)],
            weights,
            level,
            center=self.head.center,
            radius=self.head.radius,
            model=model,
            max_points=points,
        )

    # -------------------------------------------------------------------------------- tracking
    def _read_coarsely(self) -> None:
        """Keep a coarse copy of all frames."""
        # 5 mm of blur for an adult brain, in proportion for smaller ones
        blur = max(5.0 * self.head.radius / ADULT_RADIUS, 0.7 * float(self.sizes.max()))
        self.coarse = self._level(blur=blur, spacing=1.2 * blur)
        count = self.frames.count
        self.coarse_images = torch.empty(
            (count, *self.coarse.shape), dtype=torch.float16, device=self.device
        )
        for chunk in self.frames.chunks(range(count)):
            images = self.coarse.image(self.frames(chunk)).clamp(-6e4, 6e4)
            self.coarse_images[chunk[0] : chunk[-1] + 1] = images
            self._tell(0.1 + 0.1 * (chunk[-1] + 1) / count, "coarse images")

    def _track(
        self,
        images: Tensor,
        usable: NDArray[np.bool_],
        starts: Tensor | None,
    ) -> Track:
        if not hasattr(self, "coarse"):
            self._read_coarsely()
        points = self.settings.coarse_points
        targets = Targets(
            stiff=self._target(images, self.coarse, points, "gain"),
            flexible=self._target(images, self.coarse, points, "bias"),
        )
        self._tell(0.2, "tracking")
        return track(
            targets,
            self.coarse_images,
            self.coarse.image(self.raw_reference),
            self.coarse.image(self.head.weights).clamp(0, 1),
            usable,
            starts=starts,
            guess=self.guesses if self.settings.network else None,
            search=self.settings.search,
        )

    def _track_any_contrast(self, usable: NDArray[np.bool_]) -> tuple[Track, tuple[str, ...]]:
        """Track by the reference's intensity; tie frames in pairs if that leaves too many."""
        by_image = self._track(self.raw_reference[None], usable, self.guesses.by_masks())
        doubtful = usable & (by_image.similarity < _UNEXPLAINED)
        if doubtful.sum() < max(3, _UNEXPLAINED_SHARE * usable.sum()):
            return by_image, ()
        known = by_image.poses.clone()
        known[doubtful.tolist()] = torch.eye(4).to(known)  # what a search finds in vain misleads
        tied = self._refine_tied(self._tie(known)).track
        judge = Judge(self.frames, self.affine, self.head, usable)
        gain = judge.gain(tied.poses, by_image.poses)
        if not clear(*gain):
            return by_image, ()
        return tied, (compared("tied", "plain", *gain),)

    def _tie(self, starts: Tensor) -> Track:
        """Frames tied to each other in pairs; those that are not have no similarity."""
        if not hasattr(self, "coarse"):
            self._read_coarsely()
        tying = Tying(
            self._evened(),
            self.affine,
            self.head,
            self.coarse,
            self._level(blur=self.fine_blur, cubic=True),
            (self.settings.coarse_points, self.settings.fine_points),
            self.settings.tolerance,
        )
        poses, similarity = tying(self.reference, starts, self.usable)
        return Track(poses, similarity, np.zeros(len(similarity), dtype=bool))

    def _evened(self) -> Frames:
        return self.frames.evened(self.affine, _EVEN * self.head.radius)

    def _refine_tied(self, tied: Track, rounds: Sequence[tuple[bool, int]] = _ROUNDS) -> Way:
        """Poses by what tied frames have in common, found and followed in turn."""
        poses = tied.poses
        good = self.usable & (tied.similarity > 0)
        for even, most in rounds:
            frames = self._evened() if even else self.frames
            chosen = self._spread(good)
            aligned = self._aligned(poses, chosen, frames)
            mean, weights = robust_mean(aligned), self.head.weights[self.window]
            more = leading_images(aligned, mean, weights, min(most, len(chosen) // 3))
            around = frames([self.reference])[0]
            images = torch.cat(
                [self._placed(mean[None], around), self._placed(more, torch.zeros_like(around))]
            )
            refined = self._refine(images, poses, self.usable, even=even)
            poses = refined.poses
            good = self.usable & (refined.similarity >= NEVER_FAILED)
            good[self.reference] = True
        return Way(refined, images, Track(poses, refined.similarity, tied.searched))

    # --------------------------------------------------------------------------------- network
    def _as_guessed(self, usable: NDArray[np.bool_]) -> Tracking:
        """The network's poses of all frames, compared with the reference but not refined."""
        everything = np.flatnonzero(usable)
        poses = torch.eye(4, dtype=torch.float64).repeat(len(usable), 1, 1)
        poses[everything] = self.guesses(everything).cpu()
        poses[self.reference] = torch.eye(4, dtype=torch.float64)
        similarity = np.full(len(usable), np.nan)
        self._read_coarsely()
        target = self._target(
            self.raw_reference[None], self.coarse, self.settings.coarse_points, "bias"
        )
        for chunk in self.frames.chunks(everything.tolist()):
            rows = list(chunk)
            images = self.coarse_images[rows].float()[:, None]
            at = poses[rows].to(self.device)
            judged = register(target, images, at, iterations=1, tolerance=0.0)
            similarity[rows] = judged.similarity.cpu().numpy()
        searched = np.zeros(len(usable), dtype=bool)
        return Tracking(self.reference, poses.numpy(), similarity, searched)

    def _unrefined(self, tracked: Track) -> MotionEstimate:
        """Tracking as it is; nothing is known of its precision."""
        good = self._well_tracked(tracked, self.usable)
        return self._estimate(
            tracked.poses.cpu(),
            torch.full((self.frames.count, 6, 6), torch.nan, dtype=torch.float64),
            tracked.similarity,
            np.where(good, "ok", "lost"),
            self.raw_reference,
        )

    def _well_tracked(self, tracked: Track, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        good = usable & (tracked.similarity >= similarity_threshold(tracked.similarity[usable]))
        good[self.reference] = True
        return good

    # -------------------------------------------------------------------------------- template
    def _choose(self, tracked: Track, good: NDArray[np.bool_]) -> tuple[Tensor, list[int]]:
        """Frames for the template, finely aligned to the reference (the others as they were)."""
        rest = torch.eye(4, dtype=torch.float64, device=self.device)
        moved = rigid.displacement(tracked.poses, rest, self.head.surface()).mean(dim=-1)
        wanted = int(np.clip(len(good) // 4, 6, _MOST_FRAMES))
        chosen = choose_frames(
            self.reference, tracked.similarity, moved.cpu().numpy(), good, wanted
        )
        among = np.isin(np.arange(len(good)), chosen)
        fine = self._refine(self.raw_reference[None], tracked.poses, among, share=0.0).poses
        poses = tracked.poses.clone()
        poses[chosen] = fine[chosen]
        poses[self.reference] = rest
        return poses, chosen

    def _refine_to_one_image(self, tracked: Track) -> tuple[Refined, Tensor, bool]:
        """Poses, the template ``(1, X, Y, Z)``, and whether one image cannot explain the series."""
        usable = self.usable
        if not self.settings.template or self.frames.count < 3:
            template = self.raw_reference[None]
            return self._refine(template, tracked.poses, usable), template, False
        poses, averaged = self._choose(tracked, self._well_tracked(tracked, usable))
        aligned = self._aligned(poses, averaged)
        mean = robust_mean(aligned)
        self.steady[self.window] = steadiness(aligned, mean, self.head.weights[self.window])
        template = self._placed(mean[None], self.raw_reference)
        refined = self._refine(template, poses, usable)
        return refined, template, self._contrast_changes(aligned, refined)

    def _aligned(self, poses: Tensor, chosen: list[int], frames: Frames | None = None) -> Tensor:
        """Frames without their motion, around the head."""
        affine, weights = self.affine.to(self.device), self.head.weights[self.window]
        images = (frames or self.frames)(chosen)
        return align(images, poses[chosen], affine, weights, self.window)

    def _contrast_changes(self, aligned: Tensor, refined: Refined) -> bool:
        """Whether it differs among the template's frames, or in those that fit it less well."""
        suspects = np.nan_to_num(refined.similarity, nan=1.0) < _SUSPECT
        if suspects.sum() < _FEWEST_SUSPECTS:
            return False
        weights = self.head.weights[self.window]
        if contrast_changes(aligned, robust_mean(aligned), weights):
            return True
        aligned = self._aligned(refined.poses, self._spread(self.usable))
        return contrast_changes(aligned, robust_mean(aligned), weights)

    def _placed(self, parts: Tensor, around: Tensor) -> Tensor:
        """Images of what is around the head, ``(J, X', Y', Z')``, in the whole grid."""
        whole = around.expand(len(parts), *self.frames.shape).clone()
        whole[:, *self.window] = parts
        return whole

    def _separate_contrasts(self, tracked: Track) -> tuple[Tensor, Track, list[int]]:
        """Images ``(J, X, Y, Z)`` of all contrasts, poses, and whose poses are as good as final."""
        # frames of rare contrast, or misplaced, are found again by the images of the others
        usual = tracked.similarity >= np.quantile(tracked.similarity[self.usable], 0.25)
        good = self._well_tracked(tracked, self.usable) & usual
        poses, images, _ = self._align_jointly(tracked.poses, good)
        again = self._track(images, self.usable, poses)
        again.searched |= tracked.searched
        good = self._well_tracked(again, self.usable)
        again.poses, images, together = self._align_jointly(again.poses, good)
        return images, again, together

    def _align_jointly(
        self, poses: Tensor, good: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Align frames from the whole series: poses, the images they share, and which share."""
        chosen = self._spread(good)
        poses = poses.clone()
        poses[self.reference] = torch.eye(4, dtype=torch.float64)
        level = self._level(blur=self.fine_blur, cubic=True)
        # look where any of the contrasts has edges
        some = torch.nan_to_num(self._aligned(poses, chosen[:: max(1, len(chosen) // 8)]))
        some = self._placed(some, self.raw_reference)
        joint = align_jointly(
            self._target(some, level, self.settings.fine_points, "gain"),
            level.sampled(self.frames(chosen)),
            poses[chosen],
        )
        poses[chosen] = joint.poses
        poses = poses @ rigid.inverse(poses[self.reference])
        kept = [t for t, one in zip(chosen, joint.kept.tolist(), strict=True) if one]
        # the reference shows what few others saw, even if its contrast is like no other's
        aligned = self._aligned(poses, sorted({*kept, self.reference}, key=chosen.index))
        mean, shared = robust_mean(aligned), aligned[-len(kept) :]
        images = common_images(shared, mean, self.head.weights[self.window], joint.loadings)
        parts = self._placed(images, torch.zeros_like(self.raw_reference))
        images = torch.cat([self._placed(mean[None], self.raw_reference), parts])
        return poses, images, kept if joint.loadings.shape[1] else []

    def _spread(self, good: NDArray[np.bool_]) -> list[int]:
        """The reference and good frames from the whole series."""
        others = np.flatnonzero(good & (np.arange(len(good)) != self.reference))
        picked = np.linspace(0, len(others) - 1, min(len(others), _MOST_FRAMES)).round()
        return [self.reference, *others[picked.astype(int)].tolist()]

    # ------------------------------------------------------------------------------ refinement
    def _refine(
        self,
        images: Tensor,
        poses: Tensor,
        wanted: NDArray[np.bool_],
        share: float = 0.7,
        *,
        even: bool = False,
    ) -> Refined:
        """Poses of the wanted frames against images ``(J, X, Y, Z)``, at full resolution."""
        whole = self._level(blur=self.fine_blur, cubic=True)

        def progress(done: float) -> None:
            if share:
                self._tell(1 - share + share * done, "refining")

        return refine(
            self._evened() if even else self.frames,
            self.affine,
            self._target(images, whole, self.settings.fine_points, "bias"),
            poses,
            wanted,
            tolerance=self.settings.tolerance,
            spread=share > 0,
            progress=progress,
        )

    def _judge(
        self, way: Way, mode: Mode, findings: tuple[str, ...], contrasts: bool
    ) -> MotionEstimate:
        refined, usable = way.refined, self.usable
        score = refined.similarity * np.minimum(refined.in_view / 0.5, 1)  # a sliver fits anything
        good = usable & (score >= similarity_threshold(score[usable]))
        good[self.reference] = True
        center, radius = self.head.center.cpu(), self.head.radius
        poses, covariance, bridged = bridge(
            refined.poses.cpu(), refined.covariance.cpu(), good, score, center, radius
        )
        period = contrast_cycle(self._contrast_over_time(poses)) if contrasts else 0
        if period:
            poses, covariance, extent = without_cycle(poses, covariance, period, center, radius)
            findings = (*findings, cycle_finding(period, extent))
        covariance = covariance + within_frame(poses, good, center)
        poses = rigid.orthonormalized(poses @ rigid.inverse(poses[self.reference]))
        poses[self.reference] = torch.eye(4, dtype=torch.float64)
        # the reference's own pose in the template is no better known than the others'
        covariance = covariance + torch.nan_to_num(covariance[self.reference])
        covariance[self.reference] = 0.0
        status = np.where(way.track.searched, "searched", "ok").astype("<U8")
        status[~good] = "lost"
        status[bridged] = "bridged"
        return self._estimate(
            poses, covariance, refined.similarity, status, way.images[0], mode, findings
        )

    def _contrast_over_time(self, poses: Tensor) -> NDArray[np.float64]:
        """How much each frame shows of what differs most among frames, ``(T,)``."""
        if not hasattr(self, "coarse"):
            self._read_coarsely()
        inside = self.coarse.image(self.head.weights).flatten() > 0.5
        points = voxel_centers(self.coarse.shape, self.device)[inside].double()
        points = rigid.transform(self.coarse.affine.to(points), points)
        indices = rigid.transform(torch.linalg.inv(self.coarse.affine) @ poses, points.cpu())
        values = self.coarse.sample(
            self.coarse_images.float()[:, None], indices.float().to(self.device)
        )[:, 0].double()
        return most_different(values, torch.from_numpy(self.usable).to(values.device))

    def _estimate(
        self,
        poses: Tensor,
        covariance: Tensor,
        similarity: NDArray[np.float64],
        status: NDArray[np.str_],
        template: Tensor,
        mode: Mode = "plain",
        findings: Sequence[str] = (),
    ) -> MotionEstimate:
        self._tell(1.0, "done")
        return MotionEstimate(
            poses=poses.numpy(),
            covariance=covariance.numpy(),
            similarity=similarity,
            status=status.astype("<U8"),
            template=(template * self.frames.scale).cpu().numpy(),
            mask=self.head.weights.cpu().numpy(),
            reference=self.reference,
            center=self.head.center.cpu().numpy(),
            radius=self.head.radius,
            mode=mode,
            findings=tuple(findings),
        )


def track_motion(
    series: Any,
    affine: NDArray[np.float64],
    *,
    mask: NDArray[Any] | None = None,
    reference: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    settings: MotionSettings | None = None,
    progress: Progress | None = None,
) -> Tracking:
    """Follow the head through a series: the first half of `estimate_motion` (see there)."""
    with torch.inference_mode():
        return Estimation(series, affine, mask, device, settings, progress).track(reference)


def find_reference(series: Any, affine: NDArray[np.float64]) -> int:
    """Index of a still frame that looks like most others: what ``reference="auto"`` takes."""
    with torch.inference_mode():
        estimation = Estimation(series, affine, None, "cpu", None, None)
        estimation.scan("auto")
        return estimation.reference


def estimate_motion(
    series: Any,
    affine: NDArray[np.float64],
    *,
    mask: NDArray[Any] | None = None,
    reference: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    settings: MotionSettings | None = None,
    progress: Progress | None = None,
    tracking: Tracking | None = None,
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
    tracking
        Where to start, from `track_motion` or another tracker; its reference then counts.

    Examples
    --------
    >>> import nibabel
    >>> image = nibabel.load("sub-01_task-rest_bold.nii.gz")      # doctest: +SKIP
    >>> motion = estimate_motion(image.dataobj, image.affine)     # doctest: +SKIP
    >>> motion.poses.shape, set(motion.status)                    # doctest: +SKIP
    ((300, 4, 4), {'ok'})
    """
    with torch.inference_mode():
        estimation = Estimation(series, affine, mask, device, settings, progress)
        return estimation.refine(tracking or estimation.track(reference))
