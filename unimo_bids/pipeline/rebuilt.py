"""Frames made from slices, and what of their brightness motion has left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.files.scratch import on_disk
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.slices.history import IN_HEAD, LEAST_SIGNAL, Excitation, SpinHistory
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import SliceWise, Warp

if TYPE_CHECKING:
    from unimo_bids.motion.slices.brightness import HistoryFit
    from unimo_bids.motion.slices.estimation import SliceMotion
    from unimo_bids.motion.slices.receive import ReceiveField


@dataclass(frozen=True, eq=False)
class SliceResult:
    """What later steps need of T frames of S slices.

    Attributes
    ----------
    axis
        Of the slices.
    times
        ``(S,)`` s after a frame began.
    poses, gains
        ``(T, S, 4, 4)``, reference → slice, and ``(T, S)``.
    within_max, within_rms
        ``(T,)`` mm on the head's surface: between two slices, and about their mean place.
    saved, whole
        ``(T,)`` frames that only slices explain; frames that keep one pose.
    flip_angle, t1, repetition_time
        Of `Excitation`; NaN where spin history is not to be looked at.
    receive
        Whether the coils' gain is to be looked at.
    """

    axis: int
    times: NDArray[np.float64]
    poses: NDArray[np.float64]
    gains: NDArray[np.float64]
    within_max: NDArray[np.float64]
    within_rms: NDArray[np.float64]
    saved: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    flip_angle: float = np.nan
    t1: float = np.nan
    repetition_time: float = np.nan
    receive: bool = False

    @property
    def excitation(self) -> Excitation | None:
        """Parameters of spin history; None if it is ignored."""
        known = np.isfinite(self.flip_angle)
        return Excitation(self.flip_angle, self.t1, self.repetition_time) if known else None

    def warps(self, grid: Grid) -> list[SliceWise]:
        """Where the reference is in each frame of a grid."""
        return [SliceWise(grid, self.axis, own) for own in torch.from_numpy(self.poses)]

    @classmethod
    def of(
        cls,
        slices: SliceMotion,
        motion: MotionEstimate,
        excitation: Excitation | None = None,
        *,
        receive: bool = False,
    ) -> SliceResult:
        """Combine the estimates by slices and by frames."""
        about = {} if excitation is None else asdict(excitation)
        return cls(
            slices.times.axis,
            slices.times.offsets,
            slices.poses,
            slices.gains,
            slices.within_frames(motion.radius),
            slices.rms_within_frames(motion.radius),
            slices.saved(motion.status),
            slices.whole,
            **about,
            receive=receive,
        )


class Rebuilt:
    """Frames made from slices, with the coverage and brightness found on the way.

    Attributes
    ----------
    coverage
        ``(X, Y, Z, T)`` uint8, per cent, of frames that have been made on the series' own grid.
    history
        How strong spin history is; None until frames are made, and where it is not looked at.
    receive
        The coils' gain; the same.
    history_rms
        ``(T,)`` change of the head's brightness by it, root mean square; NaN where unknown.
    """

    def __init__(
        self,
        series: Any,
        grid: Grid,
        slices: SliceResult,
        motion: MotionEstimate,
        *,
        onto: Grid | None = None,
        space: Warp | None = None,
    ) -> None:
        from unimo_bids.motion.slices.estimation import correct_slices

        self.coverage = np.zeros(series.shape if onto is None else 0, dtype=np.uint8, order="F")
        self.history: HistoryFit | None = None
        self.receive: ReceiveField | None = None
        self.history_rms = np.full(series.shape[3], np.nan)
        self._slices, self._grid, self._onto, self._space = slices, grid, onto, space
        self._head = motion.mask.astype(np.float32)
        self._center, self._radius = motion.center, motion.radius
        self._used = np.isin(motion.status, ("ok", "searched"))
        self._made = correct_slices(
            *(series, grid.affine.numpy(), slices.poses, slices.gains, slices.axis),
            onto=onto,
            space=space,
        )

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Frames ``(X, Y, Z)``, one after the other."""
        untouched = self._slices.excitation is None and not self._slices.receive
        return self._from_slices() if untouched else self._evenly_bright()

    def _from_slices(self) -> Iterator[NDArray[np.float32]]:
        for t, (frame, covered) in enumerate(self._made):
            if self._onto is None:
                self.coverage[..., t] = np.rint(100 * covered)
            yield frame

    def _evenly_bright(self) -> Iterator[NDArray[np.float32]]:
        """The frames without changes of brightness by motion; this needs all frames at once."""
        weights = self._head_weights()
        inside = weights > IN_HEAD
        onto = self._onto or self._grid
        places = rigid.transform(onto.affine, torch.from_numpy(np.argwhere(inside)).double())
        if self._space is not None:
            places = self._space(places)
        frames = len(self._slices.poses)
        made, signal = (on_disk((frames, *shape)) for shape in (inside.shape, (len(places),)))
        for t, frame in enumerate(self._from_slices()):
            made[t], signal[t] = frame, frame[inside]
        if self._slices.excitation is not None:
            self._without_history(signal, places, weights[inside], self._slices.excitation)
        if self._slices.receive:
            self._without_receive(signal, places, weights[inside])
        for t, frame in enumerate(made):
            frame[inside] = signal[t]
            yield np.array(frame)

    def _without_history(
        self,
        signal: NDArray[np.float32],
        places: Tensor,
        weights: NDArray[np.float32],
        excitation: Excitation,
    ) -> None:
        """Remove spin history from a signal ``(T, N)``, if it explains unseen frames."""
        from unimo_bids.motion.slices.brightness import fit_history

        slices, head = self._slices, torch.from_numpy(self._head)
        poses = torch.from_numpy(slices.poses)
        history = SpinHistory(self._grid, slices.axis, slices.times, poses, excitation)
        predicted = on_disk(signal.shape)
        with torch.inference_mode():
            for t in range(len(signal)):
                predicted[t] = history.at(t, head, places).numpy()
        self.history = fit = fit_history(signal, predicted, self._used)
        if fit is None:
            return
        for t in range(len(signal)):
            change = fit.change(predicted[t]) * weights
            self.history_rms[t] = np.sqrt(np.mean(np.square(change, dtype=np.float64)))
            if fit.worth:
                signal[t] /= np.maximum(1 + change, LEAST_SIGNAL)

    def _without_receive(
        self, signal: NDArray[np.float32], places: Tensor, weights: NDArray[np.float32]
    ) -> None:
        """Remove changes of the coils' gain from a signal, if they explain unseen frames."""
        from unimo_bids.motion.slices.receive import chosen_places, fit_receive

        warps = self._slices.warps(self._grid)
        looked_at = chosen_places(np.flatnonzero(weights > 0.5), len(signal))
        some = places[torch.from_numpy(looked_at)]
        where = np.stack([warp(some).numpy() for warp in warps])
        self.receive = fit = fit_receive(
            signal[:, looked_at], where, self._used, self._center, self._radius
        )
        if fit is None or not fit.worth:
            return
        gain = on_disk(signal.shape)
        for t, warp in enumerate(warps):
            gain[t] = fit(warp(places).numpy())
        # what a place has on average is the template's own
        usual = gain.mean(axis=0, where=self._used[:, None])
        most = -np.log(LEAST_SIGNAL)
        for t in range(len(signal)):
            signal[t] /= np.exp(((gain[t] - usual) * weights).clip(-most, most))

    def _head_weights(self) -> NDArray[np.float32]:
        """Of the head, where frames are made."""
        if self._onto is None or self._space is None:
            return self._head
        head = torch.from_numpy(self._head)
        return resample(
            head, self._grid, self._space, onto=self._onto, interpolation="linear"
        ).numpy()

    def about_brightness(self) -> dict[str, dict[str, Any]]:
        """Findings about spin history and the coils' gain, as JSON can hold them."""
        about: dict[str, dict[str, Any]] = {}
        excitation, history, receive = self._slices.excitation, self.history, self.receive
        if history is not None and excitation is not None:
            about["SpinHistory"] = {
                "FlipAngle": excitation.flip_angle,
                "T1": round(excitation.t1, 3),
                "Strength": round(history.common, 3),
                "ExplainedUnseen": round(history.explained, 4),
                "Removed": history.worth,
            }
        if receive is not None:
            about["ReceiveField"] = {
                "ExplainedUnseen": round(receive.explained, 4),
                "Removed": receive.worth,
            }
        return about
