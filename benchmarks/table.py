"""Markdown tables from the JSON files of runs."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.machine import described
from benchmarks.metrics import LOST_DEG, LOST_MM, percentile
from unimo_bids.markdown import markdown_table

Record = dict[str, Any]
Row = tuple[str, str]  # tool, mask

# time is quoted as a ratio to the first of these that ran on the same series
YARDSTICKS = ("3dvolreg", "simpleitk")
MASK_NAMES = {"none": "", "reference": " + reference mask", "oracle": " + true masks"}


def read_records(folder: Path) -> list[Record]:
    """All results in a folder."""
    return [read_record(path) for path in sorted(folder.glob("*_seed*.json"))]


def read_record(path: Path) -> Record:
    """One result."""
    return json.loads(path.read_text())


def markdown(records: Sequence[Record], order: Sequence[str] = ()) -> str:
    """Table, how to read it, and how it came about.

    `order`: scenarios in the order of the lines; others follow.
    """
    if not records:
        return "No results yet: `python -m benchmarks short`, or `run`, makes some.\n"
    yardstick = _yardstick(records)
    ratio = "" if yardstick is None else f" (ratio to {yardstick} on the same series)"
    return "\n".join(
        [
            "Displacement of the brain, estimated against true pose, mm: median / 95th percentile "
            f"over volumes (share lost: > {LOST_MM:g} mm or > {LOST_DEG:g}°). Rotation, degrees / "
            "translation at the brain's centre, mm: medians over volumes. CPU seconds per "
            f"volume{ratio} · seconds per volume · peak memory, MiB. After correction, median tSNR "
            "in the brain · Dice of brain masks · correlation of the activation map with the "
            "truth; in brackets what the true poses give; correlation with the activation map "
            "that these give.",
            "",
            markdown_table(tidy(records, order)),
            _circumstances(records),
        ]
    )


def tidy(records: Sequence[Record], order: Sequence[str] = ()) -> list[list[str]]:
    """Header and a line per scenario and tool, this project first."""
    seen = {record["scenario"] for record in records}
    scenarios = [name for name in order if name in seen] + sorted(seen - set(order))
    groups: dict[tuple[Row, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[(record["tool"], record["mask"]), record["scenario"]].append(record)
    yardstick = _yardstick(records)
    lines = [["scenario", "tool", "displacement", "rotation / translation", "cost", "quality"]]
    for scenario in scenarios:
        for row in _ordered_rows(records):
            if group := groups.get((row, scenario)):
                cells = [accuracy_cell(group), _parts_cell(group)]
                cells += [_cost_cell(group, groups, yardstick), _quality_cell(group)]
                lines.append([scenario, row[0] + MASK_NAMES[row[1]], *cells])
    return lines


def _yardstick(records: Sequence[Record]) -> str | None:
    return next((t for t in YARDSTICKS if any(r["tool"] == t for r in records)), None)


def accuracy_cell(group: list[Record]) -> str:
    """``median / p95 (lost)`` over the frames of all seeds."""
    done = [record for record in group if "per_frame" in record]
    if not done:
        return "failed" if group else ""
    displacement = _pooled(done, "displacement_mm")
    rotation = _pooled(done, "rotation_deg")
    lost = ((displacement > LOST_MM) | (rotation > LOST_DEG)).mean()
    failed = f", {len(group) - len(done)} failed" if len(done) < len(group) else ""
    return f"{_mm(displacement, 50)} / {_mm(displacement, 95)} ({lost:.0%}{failed})"


def _pooled(records: Iterable[Record], what: str) -> np.ndarray:
    """Errors of all frames but the references, ∞ where there is no pose."""
    return np.concatenate(
        [
            np.delete([math.inf if v is None else v for v in r["per_frame"][what]], r["reference"])
            for r in records
        ]
    )


def _mm(values: np.ndarray, q: float) -> str:
    return number(percentile(values, q))


def number(value: float) -> str:
    """Two significant digits, but no more than three behind the point.

    >>> [number(v) for v in (0.0312, 0.0004, 0.25, 3.14, 31.4)]
    ['0.031', '0.000', '0.25', '3.1', '31']
    """
    if math.isinf(value):
        return "∞"
    if round(value, 3) < 0.1:
        return f"{value:.3f}"
    if value < 1:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def with_p95(values: ArrayLike, middle: Callable[[np.ndarray], Any] = np.median) -> str:
    """``median / 95th percentile`` of errors; or another `middle`."""
    errors = np.asarray(values)
    return f"{number(float(middle(errors)))} / {number(float(np.quantile(errors, 0.95)))}"


def _cost_cell(
    group: list[Record], groups: dict[tuple[Row, str], list[Record]], yardstick: str | None
) -> str:
    done = [record for record in group if "cpu_seconds_per_volume" in record]
    if not done:
        return ""
    ratios = [r for record in done if (r := _ratio(record, groups, yardstick)) is not None]
    ratio = f" (×{number(float(np.mean(ratios)))})" if ratios else ""
    cpu, seconds, peak = (
        float(np.mean([record[name] for record in done]))
        for name in ("cpu_seconds_per_volume", "seconds_per_volume", "peak_mib")
    )
    return f"{number(cpu)}{ratio} · {number(seconds)} · {peak:.0f}"


def _ratio(
    record: Record, groups: dict[tuple[Row, str], list[Record]], yardstick: str | None
) -> float | None:
    """CPU time over that of the yardstick: same series, same machine, without a mask if need be."""
    if yardstick is None:
        return None
    for mask in (record["mask"], "none"):
        for other in groups.get(((yardstick, mask), record["scenario"]), []):
            same = all(other[k] == record[k] for k in ("seed", "frames", "threads"))
            same &= other["machine"]["processor"] == record["machine"]["processor"]
            if same and "cpu_seconds" in other:
                return record["cpu_seconds"] / max(other["cpu_seconds"], 1e-9)
    return None


def _parts_cell(group: list[Record]) -> str:
    done = [record for record in group if "per_frame" in record]
    if not done:
        return ""
    return f"{_mm(_pooled(done, 'rotation_deg'), 50)}° / {_mm(_pooled(done, 'translation_mm'), 50)}"


def _quality_cell(group: list[Record]) -> str:
    metrics = [record["metrics"] for record in group if "metrics" in record]
    parts = []
    for name, pattern in (
        ("tsnr", "{:.1f}"),
        ("dice", "{:.3f}"),
        ("activation_correlation", "{:.3f}"),
    ):
        values = [m[name] for m in metrics if m.get(name) is not None]
        ceilings = [m[f"{name}_ceiling"] for m in metrics if m.get(f"{name}_ceiling") is not None]
        if values and ceilings:
            found, best = pattern.format(np.mean(values)), pattern.format(np.mean(ceilings))
            parts.append(f"{found} ({best})")
    agreement = [m["activation_agreement"] for m in metrics if m.get("activation_agreement")]
    if agreement:
        parts.append(f"{np.mean(agreement):.4f}")
    return " · ".join(parts)


def _ordered_rows(records: Sequence[Record]) -> list[Row]:
    """Put this project first, then peers by name."""
    rows = {(record["tool"], record["mask"]) for record in records}
    masks = list(MASK_NAMES)
    return sorted(rows, key=lambda row: (not row[0].startswith("unimo"), masks.index(row[1]), row))


def _circumstances(records: Sequence[Record]) -> str:
    """When, on what and how."""
    dates = sorted(record["date"] for record in records)
    sizes: dict[str, set[str]] = defaultdict(set)
    for record in records:
        shape = "×".join(str(n) for n in record["shape"])
        sizes[record["scenario"]].add(f"seed {record['seed']}: {shape}×{record['frames']}")
    machines = sorted({described(record["machine"]) for record in records})
    tools = sorted(
        {f"{r['tool']} {r['tool_version'] or ''} ({r['tool_options']})" for r in records}
    )
    commits = sorted({record["versions"]["commit"] for record in records})
    threads = sorted({f"{r['threads']} threads on {r['device']}" for r in records})
    loads = [r["machine"]["load"] for r in records if "load" in r["machine"]]
    lines = [
        f"- {dates[0]} to {dates[-1]}; commit {', '.join(commits)}; {', '.join(threads)}",
        *(f"- {name}" for name in machines),
        *([f"- load average when a tool started: at most {max(loads)}"] if loads else []),
        "- series: " + "; ".join(f"{k} ({', '.join(sorted(v))})" for k, v in sizes.items()),
        "- tools: " + "; ".join(tools),
        "- CPU seconds are user and system time, of all processes; imports and files written for a "
        "program are not counted, its own reading and writing is. Memory is the peak of a fresh "
        "process; of Python tools it includes interpreter, libraries and series "
        f"({_baselines(records)} before they start).",
        "- commands: " + "; ".join(f"`{c}`" for c in sorted({r["command"] for r in records})),
    ]
    errors = {
        f"{r['tool']} on {r['scenario']}: {r['error'].strip().splitlines()[-1]}"
        for r in records
        if r.get("error")
    }
    lines += [f"- failed: {error}" for error in sorted(errors)]
    return "\n".join(lines) + "\n"


def _baselines(records: Sequence[Record]) -> str:
    found: dict[str, float] = {}
    for record in records:
        if record.get("baseline_mib"):
            found[record["tool"]] = max(found.get(record["tool"], 0.0), record["baseline_mib"])
    return ", ".join(f"{tool} {mib:.0f} MiB" for tool, mib in sorted(found.items())) or "none"
