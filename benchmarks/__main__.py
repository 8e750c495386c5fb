"""Commands; see ``--help``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.series import ROOT

RESULTS = ROOT / "benchmark-results"
HEADS = ("fetal", "adult")
SHORT_SCENARIOS = ("adult-small-head", "fetal-medium-head", "inutero-typical")
SHORT_FRAMES = 8
DATA = ROOT.parent / "shared" / "data"
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: its options are the arguments of the function that it stands for."""
    options = vars(_parser().parse_args(arguments))
    run: Callable[..., int] = options.pop("run")
    return run(**options)


def _of(module: str, function: str = "judge") -> Callable[..., int]:
    """A function of a module that is imported when it is called: help comes at once."""

    def run(**options: Any) -> int:
        return int(getattr(import_module(f"benchmarks.{module}"), function)(**options))

    return run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_tools(commands)
    _add_series(commands)
    _add_volumes(commands)
    _add_program(commands)
    return parser


def _add(
    commands: Commands,
    name: str,
    run: Callable[..., int],
    about: str,
    *,
    data: Path | None = None,
    threads: int | None = None,
    **defaults: Any,
) -> Callable[..., Any]:
    """Add a command, with options for data and threads if their defaults are given.

    Returns the function that adds further options.
    """
    parser = commands.add_parser(name, help=about)
    parser.set_defaults(run=run, **defaults)
    if data is not None:
        parser.add_argument("--data", type=Path, default=data)
    if threads is not None:
        parser.add_argument("--threads", type=int, default=threads)
    return parser.add_argument


def _add_tools(commands: Commands) -> None:
    """Tools on scenarios of one form."""
    _add(commands, "list", _list, "tools found on this machine, and scenarios")
    run = _add(commands, "run", _run, "run tools on scenarios, a JSON each")
    run("--tool", nargs="+", required=True)
    run("--scenario", nargs="+", required=True)
    run("--seed", nargs="+", type=int, default=[0])
    run("--mask", choices=("none", "reference", "oracle"), default="none")
    chosen = {"scenario": SHORT_SCENARIOS, "mask": "none"}
    short = _add(commands, "short", _short, "a few minutes: this project and its peers", **chosen)
    short("--tool", nargs="+", help="all found but the slow ones if not given")
    short("--seed", nargs="+", type=int, default=[0])
    for add, folder in ((run, RESULTS), (short, RESULTS / "short")):
        add("--out", type=Path, default=folder, help="folder of the JSON files")
        add("--cache", type=Path, default=RESULTS / "cache")
        add("--data", type=Path, default=DATA)
        add("--frames", type=int, help="of every series")
        add("--threads", type=int, default=2)
        add("--device", default="cpu", help="for this project: cpu or cuda")
        add("--timeout", type=float, default=3600, help="seconds for a tool")
    table = _add(commands, "table", _table, "Markdown from the JSON files")
    table("--out", type=Path, default=RESULTS, help="folder of the JSON files")


def _add_series(commands: Commands) -> None:
    """Series: motion, distortion, brightness."""
    about = "real runs, without truth: what is left of the motion"
    add = _add(commands, "real", _of("real", "compare"), about, data=DATA / "epi", threads=2)
    add("--tool", nargs="+", default=["unimo"], dest="tools")
    add("--out", type=Path, default=RESULTS / "real", help="folder of the pictures")
    about = "series that this project did not simulate"
    add = _add(commands, "outside", _of("outside", "run"), about, data=DATA, threads=1)
    add("--out", type=Path, default=RESULTS / "outside", help="folder of the JSON")
    add("--only", nargs="+", default=[], help="series whose names hold this")
    add("--reference", default="auto", help="a frame, or auto")
    add("--mask", action="store_true", help="give the true mask, if any")
    add = _add(commands, "tracking", _of("tracking"), "through time, before refinement", threads=1)
    add("data", type=Path, help="made by unimo-train watch")
    add("--each", action="store_true", help="a line for each rendered series")
    for name, about in (
        ("slices", "motion inside frames: simulated, and real"),
        ("history", "spin history that motion inside frames leaves: simulated, and real"),
    ):
        add = _add(commands, name, _of(name), about, data=DATA, threads=1)
        add("--frames", type=int, default=16)
        add("--seed", nargs="+", type=int, default=[0, 1], dest="seeds")
        add("--only", nargs="+", default=[], dest="kinds", help="of heads, as rest or task")
    about = "a field that a head moves through"
    add = _add(commands, "distortion", _distortion, about, data=DATA, threads=1)
    add("--motion", nargs="+", default=["severe", "typical"], dest="motions")
    add("--size", nargs="+", type=float, default=[0, 2, 4, 6, 8], dest="sizes", help="mm")
    add("--attached", choices=("scanner", "head"), default="scanner")
    add("--frames", type=int, default=16)
    add("--seed", nargs="+", type=int, default=[0], dest="seeds")
    add("--axis", nargs="+", choices=("i", "j", "k"), default=["j"], dest="axes")
    about = "given: the true one times these"
    add("--field-map", nargs="+", type=float, default=[], dest="maps", help=about)
    add("--outside", action="store_true", help="series of others instead")
    add("--only", nargs="+", default=[], help="of these, those so named")
    add = _add(commands, "pushed", _of("pushed"), "real heads, distorted by scipy", data=DATA)
    add("--size", nargs="+", type=float, default=[0, 100], dest="sizes", help="Hz, about")
    about = "or xa30, ep2d_10, …"
    add("--head", nargs="+", default=["rtcloud"], dest="heads", help=about)
    add("--seed", nargs="+", type=int, default=[0], dest="seeds")
    add("--map", action=argparse.BooleanOptionalAction, default=True, dest="maps")


def _add_volumes(commands: Commands) -> None:
    """Volumes: brains, pairs, templates."""
    add = _add(commands, "brain", _brain, "brain extraction on real scans", data=DATA, threads=2)
    add("--out", type=Path, default=RESULTS / "brain", help="folder of the pictures")
    add("--weights", type=Path, help="others than the shipped, on fetal stacks")
    add("--only", nargs="+", default=[], help="stacks whose names begin so")
    about = "made by unimo-train pack --stacks: fit the classifier anew, without each fetus in turn"
    add("--leave-out", metavar="PACK.npz", type=Path, dest="pack", help=about)
    add = _add(
        commands,
        "pairs",
        _pairs,
        "two volumes: poses, doubts, standard deviations",
        data=DATA / "fetal_epi",
        threads=2,
    )
    add("--out", type=Path, default=RESULTS / "pairs", help="folder of the pictures")
    add("--no-masks", dest="masked", action="store_false", help="the whole uterus")
    add("--rendered", metavar="N", type=int, help="so many rendered, of each kind")
    add("--seed", type=int, default=0, help="of the rendered")
    about = "UniMo's experiment, and unseen modalities"
    add = _add(commands, "modalities", _of("modalities"), about, threads=2)
    add("--objects", nargs="+", help="only these, as the table names them")
    add("--peers", action="store_true", help="other tools as well, as found")
    add("--pairs", type=int, default=12, dest="count", help="of each kind and range")
    about = "two volumes that a known field bends"
    add = _add(commands, "deformation", _of("deformation"), about, threads=1)
    add("--objects", nargs="+", choices=HEADS, default=list(HEADS))
    add("--pairs", type=int, default=1, dest="count", help="of each kind")
    add = _add(commands, "spaces", _of("spaces"), "from runs to templates", data=DATA, threads=1)
    add("--only", nargs="+", default=[], choices=("epi", "adult", "fetal", "stacks"))
    add("--count", type=int, default=4, help="of adults; of fetuses ten times that")


def _add_program(commands: Commands) -> None:
    """The program as a whole, and what is made of results."""
    about = "the whole app against the motion estimate alone"
    add = _add(commands, "app", _of("app", "main"), about, threads=1)
    add("--frames", type=int, default=300)
    about = "unimo-correct: processor seconds and memory"
    add = _add(commands, "correct", _of("correct", "measure"), about, data=DATA)
    add("--volumes", nargs="+", type=int, default=[20, 40])
    add = _add(commands, "golden", _of("golden", "run"), "fingerprints of results", data=DATA)
    add("out", metavar="OUT.json", type=Path)
    add("--before", metavar="JSON", type=Path, help="compare with these")
    add = _add(commands, "gpu", _gpu, "seconds of each part on a GPU (or the CPU)")
    add("--device", default="cuda")
    add("--small", action="store_true", help="sizes that a CPU does in a minute")
    add("--out", type=Path, default=RESULTS / "gpu.json")
    about = "thousands of participants: plan, begin, sum up"
    add = _add(commands, "cohort", _of("cohort", "measure"), about)
    add("--size", nargs="+", type=int, default=[250, 500, 1000, 2000], dest="sizes")
    add = _add(commands, "page", _page, "docs/benchmarks.md from benchmarks/results/")
    about = "first take over a folder of `run` or `outside`, or a file with printed tables"
    add("--take", metavar="PATH", type=Path, help=about)


def _distortion(outside: bool, only: Sequence[str], **options: Any) -> int:
    from benchmarks.distortion import judge, judge_outside

    if outside:
        return judge_outside(options["data"], only, options["axes"], options["threads"])
    return judge(**options)


def _gpu(device: str, small: bool, out: Path) -> int:
    from benchmarks.gpu import measure

    measured = json.dumps(measure(device, small=small), indent=2, ensure_ascii=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(measured + "\n", encoding="utf-8")
    print(measured)
    return 0


def _page(take: Path | None) -> int:
    from benchmarks import page, taking, thresholds

    if take is not None:
        changed = taking.take(take)
        print("\n".join(changed) or "no table with the columns of a result", file=sys.stderr)
        print("check texts and figures of these by eye", file=sys.stderr)
    for made in (page, thresholds):
        made.PAGE.write_text(made.render(), encoding="utf-8")
    return 0


def _list() -> int:
    from benchmarks.scenarios import SCENARIOS
    from benchmarks.tools import TOOLS, found_tools

    found = found_tools()
    print("tools")
    for name, tool in TOOLS.items():
        print(f"  {name:18} {found.get(name, 'not found'):28} {tool.options}")
    print("scenarios")
    for name, scenario in SCENARIOS.items():
        print(f"  {name:18} {scenario.description}; {scenario.frames} frames")
    return 0


def _run(tool: Sequence[str], scenario: Sequence[str], seed: Sequence[int], **how: Any) -> int:
    from benchmarks.runner import Options, run
    from benchmarks.scenarios import SCENARIOS
    from benchmarks.table import accuracy_cell, read_record
    from benchmarks.tools import TOOLS, found_tools

    found = found_tools()
    for name in tool:
        if name not in TOOLS:
            return _refuse(f"no tool {name!r}; choose from {', '.join(TOOLS)}")
        if name not in found:
            return _refuse(f"{name} is not on this machine; found: {', '.join(found)}")
    for name in scenario:
        if name not in SCENARIOS:
            return _refuse(f"no scenario {name!r}; choose from {', '.join(SCENARIOS)}")
    options, command = Options(**how), "python -m benchmarks " + shlex.join(sys.argv[1:])
    failed = 0
    for one, number, name in product(scenario, seed, tool):  # tools in turn, on the same series
        start = time.perf_counter()
        record = read_record(run(name, one, number, options, command))
        failed += "error" in record
        said = record.get("error", "").strip().splitlines()[-1:] or [""]
        print(
            f"{one} seed {number} {name}: {accuracy_cell([record])} {said[0]}"
            f" [{time.perf_counter() - start:.0f} s in all]",
            file=sys.stderr,
            flush=True,
        )
    return 1 if failed else 0


def _short(tool: Sequence[str] | None, frames: int | None, **options: Any) -> int:
    from benchmarks.tools import TOOLS, found_tools

    quick = [name for name in found_tools() if not TOOLS[name].slow]
    failed = _run(tool=tool or quick, frames=frames or SHORT_FRAMES, **options)
    _table(options["out"])
    return failed


def _table(out: Path) -> int:
    from benchmarks.scenarios import SCENARIOS
    from benchmarks.table import markdown, read_records

    print(markdown(read_records(out), list(SCENARIOS)))
    return 0


def _brain(data: Path, out: Path, threads: int, pack: Path | None, **which: Any) -> int:
    from benchmarks import brain, leave_out

    if pack is not None:
        return leave_out.judge(data, pack, out, threads)
    return brain.judge(data, out, threads, **which)


def _pairs(rendered: int | None, seed: int, threads: int, **options: Any) -> int:
    if rendered is not None:
        return _of("rendered")(count=rendered, seed=seed, threads=threads)
    return _of("pairs")(threads=threads, **options)


def _refuse(why: str) -> int:
    print(f"benchmarks: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
