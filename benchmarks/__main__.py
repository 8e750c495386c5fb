"""Commands; see ``--help``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from benchmarks.series import ROOT

RESULTS = ROOT / "benchmark-results"
HEADS = ("fetal", "adult")
SHORT_SCENARIOS = ("adult-small-head", "fetal-medium-head", "inutero-typical")
SHORT_FRAMES = 8
DATA = ROOT.parent / "shared" / "data"
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command."""
    options = _parser().parse_args(arguments)
    commands = {
        "list": _list,
        "run": _run,
        "table": _table,
        "short": _short,
        "real": _real,
        "brain": _brain,
        "pairs": _pairs,
        "outside": _outside,
        "modalities": _modalities,
        "app": _app,
        "correct": _correct,
        "golden": _golden,
        "gpu": _gpu,
        "cohort": _cohort,
        "slices": _slices,
        "history": _history,
        "spaces": _spaces,
        "tracking": _tracking,
        "distortion": _distortion,
        "pushed": _pushed,
        "deformation": _deformation,
        "page": _page,
    }
    return commands[options.command](options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_tools(commands)
    _add_series(commands)
    _add_volumes(commands)
    _add_program(commands)
    return parser


def _add_tools(commands: Commands) -> None:
    """Tools on scenarios of one form."""
    commands.add_parser("list", help="tools found on this machine, and scenarios")
    run = commands.add_parser("run", help="run tools on scenarios, a JSON each")
    run.add_argument("--tool", nargs="+", required=True)
    run.add_argument("--scenario", nargs="+", required=True)
    run.add_argument("--seed", nargs="+", type=int, default=[0])
    run.add_argument("--mask", choices=("none", "reference", "oracle"), default="none")
    short = commands.add_parser("short", help="a few minutes: this project and its peers")
    short.add_argument("--tool", nargs="+", help="all found but the slow ones if not given")
    short.add_argument("--seed", nargs="+", type=int, default=[0])
    short.set_defaults(scenario=list(SHORT_SCENARIOS), mask="none")
    for command, folder in ((run, RESULTS), (short, RESULTS / "short")):
        command.add_argument("--out", type=Path, default=folder, help="folder of the JSON files")
        command.add_argument("--cache", type=Path, default=RESULTS / "cache")
        command.add_argument("--data", type=Path, default=DATA)
        command.add_argument("--frames", type=int, help="of every series")
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--device", default="cpu", help="for this project: cpu or cuda")
        command.add_argument("--timeout", type=float, default=3600, help="seconds for a tool")
    table = commands.add_parser("table", help="Markdown from the JSON files")
    table.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")


def _add_series(commands: Commands) -> None:
    """Series: motion, distortion, brightness."""
    real = commands.add_parser("real", help="real runs, without truth: what is left of the motion")
    real.add_argument("--tool", nargs="+", default=["unimo"])
    real.add_argument("--data", type=Path, default=DATA / "epi")
    real.add_argument("--out", type=Path, default=RESULTS / "real", help="folder of the pictures")
    real.add_argument("--threads", type=int, default=2)
    outside = commands.add_parser("outside", help="series that this project did not simulate")
    outside.add_argument("--data", type=Path, default=DATA)
    outside.add_argument("--out", type=Path, default=RESULTS / "outside", help="folder of the JSON")
    outside.add_argument("--only", nargs="+", default=[], help="series whose names hold this")
    outside.add_argument("--reference", default="auto", help="a frame, or auto")
    outside.add_argument("--mask", action="store_true", help="give the true mask, if any")
    outside.add_argument("--threads", type=int, default=1)
    tracking = commands.add_parser("tracking", help="through time, before refinement")
    tracking.add_argument("data", type=Path, help="made by unimo-train watch")
    tracking.add_argument("--each", action="store_true", help="a line for each rendered series")
    tracking.add_argument("--threads", type=int, default=1)
    for name, what in (
        ("slices", "motion inside frames: simulated, and real"),
        ("history", "spin history that motion inside frames leaves: simulated, and real"),
    ):
        slices = commands.add_parser(name, help=what)
        slices.add_argument("--data", type=Path, default=DATA)
        slices.add_argument("--frames", type=int, default=16)
        slices.add_argument("--seed", nargs="+", type=int, default=[0, 1])
        slices.add_argument("--threads", type=int, default=1)
        slices.add_argument("--only", nargs="+", default=[], help="kinds of heads, as rest or task")
    distortion = commands.add_parser("distortion", help="a field that a head moves through")
    distortion.add_argument("--data", type=Path, default=DATA)
    distortion.add_argument("--motion", nargs="+", default=["severe", "typical"])
    distortion.add_argument("--size", nargs="+", type=float, default=[0, 2, 4, 6, 8], help="mm")
    distortion.add_argument("--attached", choices=("scanner", "head"), default="scanner")
    distortion.add_argument("--frames", type=int, default=16)
    distortion.add_argument("--seed", nargs="+", type=int, default=[0])
    distortion.add_argument("--axis", nargs="+", choices=("i", "j", "k"), default=["j"])
    distortion.add_argument(
        "--field-map", nargs="+", type=float, default=[], help="given: the true one times these"
    )
    distortion.add_argument("--outside", action="store_true", help="series of others instead")
    distortion.add_argument("--only", nargs="+", default=[], help="of these, those so named")
    distortion.add_argument("--threads", type=int, default=1)
    pushed = commands.add_parser("pushed", help="real heads, distorted by scipy")
    pushed.add_argument("--data", type=Path, default=DATA)
    pushed.add_argument("--size", nargs="+", type=float, default=[0, 100], help="Hz, about")
    pushed.add_argument("--head", nargs="+", default=["rtcloud"], help="or xa30, ep2d_10, …")
    pushed.add_argument("--seed", nargs="+", type=int, default=[0])
    pushed.add_argument("--map", action=argparse.BooleanOptionalAction, default=True)


def _add_volumes(commands: Commands) -> None:
    """Volumes: brains, pairs, templates."""
    brain = commands.add_parser("brain", help="brain extraction on real scans")
    brain.add_argument("--data", type=Path, default=DATA)
    brain.add_argument("--out", type=Path, default=RESULTS / "brain", help="folder of the pictures")
    brain.add_argument("--weights", type=Path, help="others than the shipped, on fetal stacks")
    brain.add_argument("--only", nargs="+", default=[], help="stacks whose names begin so")
    left = "made by unimo-train pack --stacks: fit the classifier anew, without each fetus in turn"
    brain.add_argument("--leave-out", metavar="PACK.npz", type=Path, help=left)
    brain.add_argument("--threads", type=int, default=2)
    pairs = commands.add_parser("pairs", help="two volumes: poses, doubts, standard deviations")
    pairs.add_argument("--data", type=Path, default=DATA / "fetal_epi")
    pairs.add_argument("--out", type=Path, default=RESULTS / "pairs", help="folder of the pictures")
    pairs.add_argument("--no-masks", dest="masked", action="store_false", help="the whole uterus")
    pairs.add_argument("--rendered", metavar="N", type=int, help="so many rendered, of each kind")
    pairs.add_argument("--seed", type=int, default=0, help="of the rendered")
    pairs.add_argument("--threads", type=int, default=2)
    modalities = commands.add_parser("modalities", help="UniMo's experiment, and unseen modalities")
    modalities.add_argument("--objects", nargs="+", help="only these, as the table names them")
    modalities.add_argument("--peers", action="store_true", help="other tools as well, as found")
    modalities.add_argument("--pairs", type=int, default=12, help="of each kind and range")
    modalities.add_argument("--threads", type=int, default=2)
    deformation = commands.add_parser("deformation", help="two volumes that a known field bends")
    deformation.add_argument("--objects", nargs="+", choices=HEADS, default=list(HEADS))
    deformation.add_argument("--pairs", type=int, default=1, help="of each kind")
    deformation.add_argument("--threads", type=int, default=1)
    spaces = commands.add_parser("spaces", help="from runs to templates")
    spaces.add_argument("--data", type=Path, default=DATA)
    spaces.add_argument(
        "--only", nargs="+", default=[], choices=("epi", "adult", "fetal", "stacks")
    )
    spaces.add_argument("--count", type=int, default=4, help="of adults; of fetuses ten times that")
    spaces.add_argument("--threads", type=int, default=1)


def _add_program(commands: Commands) -> None:
    """The program as a whole, and what is made of results."""
    app = commands.add_parser("app", help="the whole app against the motion estimate alone")
    app.add_argument("--frames", type=int, default=300)
    app.add_argument("--threads", type=int, default=1)
    correct = commands.add_parser("correct", help="unimo-correct: processor seconds and memory")
    correct.add_argument("--volumes", nargs="+", type=int, default=[20, 40])
    correct.add_argument("--data", type=Path, default=DATA)
    golden = commands.add_parser("golden", help="fingerprints of results")
    golden.add_argument("out", metavar="OUT.json", type=Path)
    golden.add_argument("--before", metavar="JSON", type=Path, help="compare with these")
    golden.add_argument("--data", type=Path, default=DATA)
    gpu = commands.add_parser("gpu", help="seconds of each part on a GPU (or the CPU)")
    gpu.add_argument("--device", default="cuda")
    gpu.add_argument("--small", action="store_true", help="sizes that a CPU does in a minute")
    gpu.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    cohort = commands.add_parser("cohort", help="thousands of participants: plan, begin, sum up")
    cohort.add_argument("--size", nargs="+", type=int, default=[250, 500, 1000, 2000])
    page = commands.add_parser("page", help="docs/benchmarks.md from benchmarks/results/")
    taken = "first take over a folder of `run` or `outside`, or a file with printed tables"
    page.add_argument("--take", metavar="PATH", type=Path, help=taken)


def _tracking(options: argparse.Namespace) -> int:
    from benchmarks.tracking import judge

    return judge(options.data, options.threads, each=options.each)


def _slices(options: argparse.Namespace) -> int:
    from benchmarks.slices import judge

    return judge(options.data, options.frames, options.seed, options.threads, options.only)


def _history(options: argparse.Namespace) -> int:
    from benchmarks.history import judge

    return judge(options.data, options.frames, options.seed, options.threads, options.only)


def _cohort(options: argparse.Namespace) -> int:
    from benchmarks.cohort import measure

    return measure(options.size)


def _spaces(options: argparse.Namespace) -> int:
    from benchmarks.spaces import judge

    return judge(options.data, options.only, options.count, options.threads)


def _distortion(options: argparse.Namespace) -> int:
    from benchmarks.distortion import judge, judge_outside

    if options.outside:
        return judge_outside(options.data, options.only, options.axis, options.threads)
    what = (options.motion, options.size, options.seed, options.attached, options.frames)
    return judge(options.data, *what, options.axis, options.field_map, options.threads)


def _pushed(options: argparse.Namespace) -> int:
    from benchmarks.pushed import judge

    return judge(options.data, options.head, options.size, options.seed, options.map)


def _golden(options: argparse.Namespace) -> int:
    from benchmarks.golden import run

    return run(options.data, options.out, options.before)


def _gpu(options: argparse.Namespace) -> int:
    from benchmarks.gpu import measure

    found = measure(options.device, small=options.small)
    measured = json.dumps(found, indent=2, ensure_ascii=False)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(measured + "\n", encoding="utf-8")
    print(measured)
    return 0


def _page(options: argparse.Namespace) -> int:
    from benchmarks import page, thresholds
    from benchmarks.taking import take

    if options.take is not None:
        changed = take(options.take)
        print("\n".join(changed) or "no table with the columns of a result", file=sys.stderr)
        print("check texts and figures of these by eye", file=sys.stderr)
    for made in (page, thresholds):
        made.PAGE.write_text(made.render(), encoding="utf-8")
    return 0


def _app(options: argparse.Namespace) -> int:
    from benchmarks.app import main as measure

    return measure(options.frames, options.threads)


def _correct(options: argparse.Namespace) -> int:
    from benchmarks.correct import measure

    return measure(options.data, options.volumes)


def _list(options: argparse.Namespace) -> int:
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


def _run(options: argparse.Namespace) -> int:
    from benchmarks.runner import Options, run
    from benchmarks.scenarios import SCENARIOS
    from benchmarks.table import accuracy_cell, read_record
    from benchmarks.tools import TOOLS, found_tools

    found = found_tools()
    for name in options.tool:
        if name not in TOOLS:
            return _refuse(f"no tool {name!r}; choose from {', '.join(TOOLS)}")
        if name not in found:
            return _refuse(f"{name} is not on this machine; found: {', '.join(found)}")
    for name in options.scenario:
        if name not in SCENARIOS:
            return _refuse(f"no scenario {name!r}; choose from {', '.join(SCENARIOS)}")
    names = ("out", "cache", "data", "frames", "mask", "threads", "device", "timeout")
    how = Options(**{name: getattr(options, name) for name in names})
    command = "python -m benchmarks " + shlex.join(sys.argv[1:])
    failed = 0
    for scenario in options.scenario:
        for seed in options.seed:
            for tool in options.tool:  # in turn, on the same series
                start = time.perf_counter()
                record = read_record(run(tool, scenario, seed, how, command))
                failed += "error" in record
                said = record.get("error", "").strip().splitlines()[-1:] or [""]
                print(
                    f"{scenario} seed {seed} {tool}: {accuracy_cell([record])} {said[0]}"
                    f" [{time.perf_counter() - start:.0f} s in all]",
                    file=sys.stderr,
                    flush=True,
                )
    return 1 if failed else 0


def _short(options: argparse.Namespace) -> int:
    from benchmarks.tools import TOOLS, found_tools

    if options.tool is None:
        options.tool = [name for name in found_tools() if not TOOLS[name].slow]
    options.frames = options.frames or SHORT_FRAMES
    failed = _run(options)
    _table(options)
    return failed


def _table(options: argparse.Namespace) -> int:
    from benchmarks.scenarios import SCENARIOS
    from benchmarks.table import markdown, read_records

    print(markdown(read_records(options.out), list(SCENARIOS)))
    return 0


def _real(options: argparse.Namespace) -> int:
    from benchmarks.real import compare

    return compare(options.data, options.tool, options.out, options.threads)


def _outside(options: argparse.Namespace) -> int:
    from benchmarks.outside import run

    how = (options.only, options.reference, options.mask, options.threads)
    return run(options.data, options.out, *how)


def _brain(options: argparse.Namespace) -> int:
    from benchmarks import brain, leave_out

    if options.leave_out is not None:
        return leave_out.judge(options.data, options.leave_out, options.out, options.threads)
    return brain.judge(options.data, options.out, options.threads, options.weights, options.only)


def _pairs(options: argparse.Namespace) -> int:
    if options.rendered is not None:
        from benchmarks.rendered import judge as judge_rendered

        return judge_rendered(options.rendered, options.seed, options.threads)
    from benchmarks.pairs import judge

    return judge(options.data, options.out, options.threads, options.masked)


def _modalities(options: argparse.Namespace) -> int:
    from benchmarks.modalities import judge

    return judge(options.objects, options.pairs, options.threads, options.peers)


def _deformation(options: argparse.Namespace) -> int:
    from benchmarks.deformation import judge

    return judge(options.objects, options.pairs, options.threads)


def _refuse(why: str) -> int:
    print(f"benchmarks: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
