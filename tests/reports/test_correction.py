from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unimo_bids.reports.figures.correction import Correction, write_summary


def correction(frames=12, status=None, lost=(), mask=None):
    random = np.random.default_rng(0)
    parameters = random.normal(0, 0.01, (frames, 6))
    parameters[list(lost)] = np.nan
    volume = random.uniform(1, 2, (10, 12, 8))
    inside = np.zeros((10, 12, 8))
    inside[2:8, 2:10, 2:6] = 1
    affine = np.array([[0, 3.0, 0, 0], [0, 0, -3.0, 0], [4.0, 0, 0, 0], [0, 0, 0, 1]])
    return Correction(
        parameters=parameters,
        deviations=abs(parameters) / 5,
        displacement=parameters[:, 3] * 0 + 0.2,
        status=status or ["ok"] * frames,
        correlation=(np.full(frames, 0.9), np.full(frames, 0.99)),
        mean=(volume, volume),
        std=(volume, volume),
        tsnr=(volume, volume),
        mask=inside if mask is None else mask,
        affine=affine,
        reference=0,
    )


def read(path):
    return np.asarray(Image.open(path)) / 255


@pytest.mark.parametrize(
    "result",
    [
        correction(),
        correction(status=["ok", "searched", "bridged", *["lost"] * 9], lost=range(3, 12)),
        correction(frames=2, lost=(0, 1), status=["lost", "lost"]),
        correction(frames=400, mask=np.zeros((10, 12, 8))),
    ],
    ids=["plain", "flagged", "all lost", "long, no mask"],
)
def test_it_draws(tmp_path, result):
    write_summary(tmp_path / "a.png", "title", "subtitle", result)
    picture = read(tmp_path / "a.png")
    assert picture.shape[1] > 1500 and picture.std() > 0.1  # there is something on it


def test_lost_frames_are_shaded(tmp_path):
    write_summary(tmp_path / "a.png", "", "", correction(status=["ok"] * 11 + ["lost"]))
    picture = read(tmp_path / "a.png")
    reddish = (picture[..., 0] - picture[..., 2] > 0.15) & (picture[..., 0] > 0.9)
    left = reddish[:, : picture.shape[1] // 2]
    assert left.mean() > 0.01  # a twelfth of four panels
