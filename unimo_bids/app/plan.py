"""`unimo-bids … --dry-run`: what would run, how large it is, and roughly how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unimo_bids.bids.query import BoldRun, Selection
from unimo_bids.execution.resources import Resources
from unimo_bids.settings import Settings
from unimo_bids.workflows.participant import series_gb

# The whole app on one thread took 47 s for 64×64×40×300 voxels (docs/benchmarks.md); 7 s of it
# are ten processes and the figures, which a run of a hundred thousand voxels takes as well.
_RUN_S, _RUN_S_PER_VOXEL = 7.0, 0.8e-6
# an echo more is resampled, and no more than that: a third of the work
_ECHO_S_PER_VOXEL = _RUN_S_PER_VOXEL / 3
_BYTES_PER_VOXEL, _GIB = 4, 2**30  # as in `series_gb`


@dataclass(frozen=True)
class Estimate:
    """Cost of a run: GiB of its series as float32, and seconds on one thread."""

    gb: float
    seconds: float


def estimate(run: BoldRun) -> Estimate | None:
    """Estimate the cost of a run; None if it cannot be read, and will be refused when it begins."""
    gb = series_gb(run.paths[0])
    if not gb:
        return None
    voxels = gb * _GIB / _BYTES_PER_VOXEL
    more_echoes = len(run.paths) - 1
    seconds = _RUN_S + (_RUN_S_PER_VOXEL + more_echoes * _ECHO_S_PER_VOXEL) * voxels
    return Estimate(gb, seconds)


def together(seconds: Sequence[float], side_by_side: int) -> float:
    """Estimate the time of some runs, `side_by_side` of them at a time."""
    # no shorter than the longest of them
    return max([sum(seconds) / side_by_side, *seconds])


def plan(selection: Selection, settings: Settings, enough: Resources) -> str:
    """Say what would run: a line for each run, then all together."""
    lines = [f"{'run':<48}{'echoes':>7}{'in memory':>12}  time on one thread"]
    seconds = []
    for run in selection.runs:
        sizes = ("?", "?")
        known = estimate(run)
        if known:
            seconds.append(known.seconds)
            sizes = (_size(known.gb), duration(known.seconds))
        lines.append(f"{run.name:<48}{len(run.paths):>7}{sizes[0]:>12}  {sizes[1]}")
    side_by_side = max(1, min(len(selection.runs), enough.nprocs // enough.omp_nthreads))
    count, unknown = len(selection.runs), len(selection.runs) - len(seconds)
    runs = "1 run" if count == 1 else f"{count} runs, {side_by_side} side by side"
    total = [duration(together(seconds, side_by_side))] if seconds else []
    if unknown:
        total.append(f"{unknown} of unknown size" + (" not counted" if seconds else ""))
    lines.append(
        f"{runs}: {', '.join(total)}; results in {settings.out_dir}, work in {settings.work_dir}"
    )
    return "\n".join(lines)


def _size(gb: float) -> str:
    """Format an amount of memory.

    >>> _size(2.34), _size(0.18), _size(0.0004)
    ('2.3 GB', '184 MB', 'under 1 MB')
    """
    if gb >= 1:
        return f"{gb:.1f} GB"
    return f"{1024 * gb:.0f} MB" if gb * 1024 >= 1 else "under 1 MB"


def duration(seconds: float) -> str:
    """Format a time that is known roughly.

    >>> duration(47), duration(150), duration(8000)
    ('under a minute', 'about 2 minutes', 'about 2.2 hours')
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return "under a minute"
    if minutes < 100:
        return f"about {minutes} minute" + ("s" if minutes > 1 else "")
    return f"about {seconds / 3600:.1f} hours"
