"""The movie: every frame before and after correction, as tiles of one image for the player."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from unimo_bids.files.staging import atomic, write_text
from unimo_bids.reports.record import Array, RunRecord
from unimo_bids.reports.survey import Survey

# the first that makes the sheet no larger than this; the last is enough to see motion
_QUALITIES, _MOST_BYTES = (60, 45, 30, 15), 150_000


def write_movie(
    sheet: Path,
    track: Path,
    record: RunRecord,
    shown: npt.NDArray[np.intp],
    before: Survey,
    after: Survey,
) -> None:
    """Write all tiles as one WebP image, and its description for the player as JSON."""
    tiles = np.concatenate([before.cuts, after.cuts], axis=1)
    count, height, width = tiles.shape
    columns = max(round(math.sqrt(count * height / width)), 1)
    rows = math.ceil(count / columns)
    image = np.zeros((rows * height, columns * width), np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        image[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    with atomic(sheet) as temporary:
        for quality in _QUALITIES:
            Image.fromarray(image).save(temporary, format="WebP", quality=quality)
            if temporary.stat().st_size <= _MOST_BYTES:
                break
    content = {
        "tile": [width, height],
        "columns": columns,
        "shown": shown.tolist(),
        "frames": len(record.status),
        "threshold": float(record.fd_threshold),
        "before": _numbers(record.fd_before),
        "after": _numbers(record.fd_after),
        "status": [str(one) for one in record.status],
        "uncorrected": [int(one) for one in record.uncorrected],
    }
    write_text(track, json.dumps(content, allow_nan=False) + "\n")


def _numbers(values: Array) -> list[float | None]:
    return [round(float(x), 3) if np.isfinite(x) else None for x in values]
