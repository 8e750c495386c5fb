"""Real runs, of which nobody knows the motion: what is left of it after each tool's correction.

Every tool's poses go through the same resampler; the reference is the middle frame and the brain
is found in it once, for all tools. Low variance is not proof (a tool may align what moves around
the head), so look at the pictures too.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from benchmarks.metrics import percent_sd
from benchmarks.moved import brain_of
from benchmarks.runner import Options, estimate
from benchmarks.series import BenchmarkSeries, save
from benchmarks.table import number
from unimo_bids.files.series import read_series
from unimo_bids.markdown import markdown_table
from unimo_bids.motion.correction import correct_series
from unimo_bids.qc.framewise import framewise_displacement

SHOWN_FRAMES = 6

Frames = NDArray[np.float32]


def compare(data: Path, tools: Sequence[str], out: Path, threads: int) -> int:
    """Print a table of all runs in a folder and write their pictures.

    Parameters
    ----------
    data
        Folder with ``*_bold.nii.gz`` files, at any depth.
    out
        Folder of the pictures.
    """
    paths = sorted(data.glob("**/*_bold.nii*"))
    if not paths:
        print(f"benchmarks: {data}: no *_bold.nii.gz; name a folder with --data")
        return 2
    out.mkdir(parents=True, exist_ok=True)
    lines = [["run", "tool", "mean FD, mm", "median SD in the brain", "frames", "CPU s / volume"]]
    for path in paths:
        name = path.name.split("_bold")[0]
        series = _series(path)
        shown = {"raw": series.data}
        lines.append([name, "raw", "", _deviation(series.data, series), "", ""])
        for tool in tools:
            with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
                file = Path(folder) / "series.npz"
                save(series, file)
                options = Options(out=out, cache=out, data=data, threads=threads)
                poses, measured = estimate(tool, file, options)
            if poses is None:
                lines.append([name, tool, measured["error"].splitlines()[-1], "", "", ""])
                continue
            poses = np.where(np.isfinite(poses), poses, np.eye(4))
            corrected = np.stack(list(correct_series(series.data, series.affine, poses)), axis=-1)
            shown[tool] = corrected
            center = series.brain_points.mean(axis=0)
            displacement = framewise_displacement(poses, center)[1:].mean()
            status = Counter(measured["status"] or [])
            lines.append(
                [
                    *(name, tool, number(float(displacement)), _deviation(corrected, series)),
                    ", ".join(f"{count} {word}" for word, count in status.most_common()),
                    number(measured["cpu_seconds"] / len(poses)),
                ]
            )
        _picture(shown, series, out / f"{name}.png", name)
    print(markdown_table(lines))
    print(f"SD over time in percent of the mean. Pictures: {out}")
    return 0


def _series(path: Path) -> BenchmarkSeries:
    read = read_series(path)
    data = read[..., :]
    reference = data.shape[3] // 2
    brain = brain_of(data[..., reference])
    return BenchmarkSeries(
        data=data,
        affine=read.affine,
        poses=np.tile(np.eye(4), (data.shape[3], 1, 1)),
        brain=brain.astype(np.float32),
        brain_points=apply_affine(read.affine, np.argwhere(brain)),
        masks=np.zeros((*data.shape[:3], 0), dtype=np.uint8),
        reference=reference,
        repetition_time=read.repetition_time or 2.0,
    )


def _deviation(data: Frames, series: BenchmarkSeries) -> str:
    """Median over the brain of the standard deviation over time, in percent of the mean."""
    signal = data[series.brain > 0]
    # a place that a frame did not see would count as change
    seen = (signal > 0).all(axis=1)
    return f"{number(percent_sd(signal[seen]))} %"


def _picture(shown: dict[str, Frames], series: BenchmarkSeries, path: Path, name: str) -> None:
    """Rows: raw and every tool. Columns: the middle slice of some frames, and the SD over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    count = series.data.shape[3]
    frames = np.unique(np.linspace(0, count - 1, min(count, SHOWN_FRAMES)).astype(int))
    middle = int(np.argwhere(series.brain > 0)[:, 2].mean())
    bright = float(np.percentile(series.data, 99.5))
    outline = series.brain[:, :, middle].T > 0
    figure, axes = plt.subplots(
        len(shown),
        len(frames) + 1,
        figsize=(1.6 * (len(frames) + 1), 1.7 * len(shown)),
        squeeze=False,
        layout="constrained",
    )
    for row, (label, data) in zip(axes, shown.items(), strict=True):
        for axis, t in zip(row, frames, strict=False):
            axis.imshow(data[:, :, middle, t].T, cmap="gray", vmin=0, vmax=bright, origin="lower")
            axis.contour(outline, levels=[0.5], colors="red", linewidths=0.5)
            axis.set_title(f"{label}, frame {t}", fontsize=6)
        row[-1].imshow(
            data[:, :, middle].std(axis=-1).T,
            cmap="inferno",
            vmin=0,
            vmax=bright / 8,
            origin="lower",
        )
        row[-1].set_title(f"{label}, SD over time", fontsize=6)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(name, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
