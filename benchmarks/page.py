"""The page of results, Markdown from the JSON files."""

from __future__ import annotations

import re
import textwrap
from functools import partial
from pathlib import Path

from benchmarks.results import FOLDER, Figure, Result, read_result
from benchmarks.series import ROOT
from unimo_bids.markdown import markdown_table

PAGE = ROOT / "docs" / "benchmarks.md"
# what the names of the files begin with
SECTIONS = {
    "series": "Motion of series",
    "brain": "Brain extraction",
    "pairs": "Pairs of volumes",
    "pose": "Pose network",
    "spaces": "Standard spaces",
    "time": "Time and memory",
}
_INTRODUCTION = """\
This page is made from the files in `benchmarks/results/` by `python -m benchmarks page`: edit
those, not the page. Newest result: {date}. Each table says when, at which commit and on which
machine it was measured, and which command repeats it. Errors are displacements of the brain between
true and estimated transform, in mm, unless a table says otherwise. What was tried, where thresholds
come from, and why targets are missed: [notes](notes/index.md).
"""


def render(folder: Path = FOLDER) -> str:
    """Markdown of all results in a folder."""
    sections: dict[str, list[Result]] = {prefix: [] for prefix in SECTIONS}
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stem):
        prefix = path.stem.split("-")[0]
        if prefix not in sections:
            raise ValueError(f"{path}: the name has to begin with one of {', '.join(SECTIONS)}")
        sections[prefix].append(read_result(path))
    results = [result for section in sections.values() for result in section]
    date = max(result.date for result in results)
    parts = ["# Benchmarks\n", _INTRODUCTION.format(date=date), "## Targets\n", _targets(results)]
    for prefix, section in sections.items():
        parts += [f"## {SECTIONS[prefix]}\n", *map(_section, section)]
    return "\n".join(parts)


def _targets(results: list[Result]) -> str:
    lines = []
    for result in results:
        for figure in result.figures:
            if figure.met is None:
                continue
            mark = "met" if figure.met else "**missed**"
            link = f"[{result.title}](#{_anchor(result.title)})"
            lines.append([mark, link, figure.what, _value(figure), _target(figure), result.date])
    lines.sort(key=lambda cells: cells[0] == "met")
    missed = sum(cells[0] != "met" for cells in lines)
    table = markdown_table([["", "result", "figure", "found", "target", "date"], *lines])
    return f"Missed: {missed} of {len(lines)}.\n\n{table}"


def _section(result: Result) -> str:
    where = "; ".join(filter(None, [result.date, f"commit {result.commit}", result.machine]))
    how = "Repeat:" if result.commands else "No command repeats it."
    reasons = f" Reasons: [notes](notes/{result.notes})." if result.notes else ""
    parts = [
        f"### {result.title}\n",
        _wrapped(result.about),
        _wrapped(f"*{where}.*{reasons} {how}"),
    ]
    if result.commands:
        parts.append("```bash\n" + "".join(f"{command}\n" for command in result.commands) + "```\n")
    if result.figures:
        parts.append("".join(map(_bullet, result.figures)))
    if result.rows:
        parts.append(markdown_table([list(result.columns), *map(list, result.rows)]))
    return "\n".join(parts)


def _bullet(figure: Figure) -> str:
    target = ""
    if figure.met is not None:
        target = f" (target {_target(figure)}: {'met' if figure.met else '**missed**'})"
    return f"- {figure.what}: {_value(figure)}{target}\n"


def _value(figure: Figure) -> str:
    of = "" if figure.of is None else f"of {figure.of}"
    return " ".join(filter(None, [str(figure.value), of, figure.unit]))


def _target(figure: Figure) -> str:
    if figure.of is not None and figure.at_most == 0:
        return "none"
    bounds = (("≥", figure.at_least), ("≤", figure.at_most))
    said = ", ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)
    unit = figure.unit if figure.of is None else "%"
    return f"{said} {unit}".strip()


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")


def _wrapped(text: str) -> str:
    wrap = partial(textwrap.fill, width=110, break_long_words=False, break_on_hyphens=False)
    return "\n\n".join(map(wrap, text.split("\n\n"))) + "\n"
