"""Parts of a head without signal in some frames, as where the field is far off in them.

Registration takes the border of such a part for that of the head, and no smooth field of gains
bends so far. Around each place y of a frame I, the signal relative to what the reference P shows
there at the frame's pose is a local regression, with a Gaussian window G and the head's weights w::

    g = G ∗ (w I P) / G ∗ (w P²)

It hardly depends on a pose that is a few millimetres off. Where it is far below what most of the
head has, the frame has seen nothing. So place and pose are found in turn, from the poses of frames
that are explained, at the coarse level; then these places count as out of view.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unimo_bids.motion.frames import Partial
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.thresholds import LOSSES
from unimo_bids.registration.levels import Level
from unimo_bids.spatial import rigid
from unimo_bids.spatial.interpolation import gaussian_blur
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

_TOLD = (
    "In {} a part of the head has no signal, {:.0f} % of it in frame {}: only the rest was "
    "registered there."
)


@dataclass(frozen=True)
class SignalLoss:
    """Tells where frames have lost their signal.

    Attributes
    ----------
    level
        Of the images.
    head
        ``(2, X, Y, Z)`` the reference and its soft mask.
    width
        Of the window, mm.
    """

    level: Level
    head: Tensor
    width: float

    @classmethod
    def at(cls, level: Level, reference: Tensor, weights: Tensor, radius: float) -> SignalLoss:
        """For images ``(X, Y, Z)`` at a level, and a head of that radius."""
        head = torch.stack([reference, weights.clamp(0, 1)])
        return cls(level, head, LOSSES.window * radius)

    def __call__(self, image: Tensor, pose: Tensor) -> tuple[Tensor, float]:
        """How far each place of a frame has signal, 0 … 1 ``(X, Y, Z)``; what share has not."""
        grid = self.level.grid
        back = Rigid(rigid.inverse(pose))
        reference, weights = resample(self.head, grid, back, interpolation="linear")
        inside = weights > 0.5
        if not bool(inside.any()):
            return torch.ones_like(image), 0.0
        products = torch.stack([weights * image * reference, weights * reference.square()])
        shown, possible = gaussian_blur(products, (self.width / grid.sizes).tolist())
        gain = shown / possible.clamp(min=1e-6 * float(possible.max()) + 1e-30)
        gain = gain / torch.quantile(gain[inside], LOSSES.usual).clamp(min=1e-12)
        without = float((gain[inside] < LOSSES.none).float().mean())
        return ((gain - LOSSES.dim) / (LOSSES.whole - LOSSES.dim)).clamp(0, 1), without


def without_losses(scan: Scan, poses: Tensor, partial: list[int]) -> tuple[Scan, str]:
    """The scan in which places without signal count as not seen, and a sentence.

    Parameters
    ----------
    poses
        ``(T, 4, 4)``
    partial
        Frames of which a part has no signal.
    """
    level = scan.coarse.level
    reference, weights = level.image(torch.stack([scan.reference_image, scan.head.weights]))
    loss = SignalLoss.at(level, reference, weights, scan.head.radius)
    lost, shares = {}, {}
    for t in partial:
        kept, shares[t] = loss(scan.coarse.images[t].float(), poses[t])
        lost[t] = 1 - kept
    worst = max(shares, key=lambda t: shares[t])
    listed = ", ".join(map(str, partial[:8])) + (", …" if len(partial) > 8 else "")
    which = f"frames {listed}" if len(partial) > 1 else f"frame {listed}"
    told = _TOLD.format(which, 100 * shares[worst], worst)
    return replace(scan, frames=Partial(scan.frames, level.grid, lost)), told
