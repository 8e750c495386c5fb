"""`unimo-bids-slurm`: the same words as `unimo-bids`, a job for each participant."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from unimo_bids.cli import arguments
from unimo_bids.cli.guard import guarded
from unimo_bids.cli.parser import parse
from unimo_bids.cli.printing import tell


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit codes as `unimo-bids`."""
    own, words = build_parser().parse_known_args(argv)
    settings = parse(words)

    def run() -> int:
        from unimo_bids.app.array import submit_array
        from unimo_bids.app.scripts import Program

        program = Program(Path(sys.executable).with_name("unimo-bids"), own.image, own.first)
        outcome = submit_array(
            settings,
            program,
            options=own.sbatch,
            at_once=own.at_once,
            everyone=own.everyone,
            submit=own.submit,
        )
        return tell(outcome)

    return guarded(run, debug=settings.debug)


def build_parser() -> argparse.ArgumentParser:
    """Declare the options that `unimo-bids` does not have."""
    parser = argparse.ArgumentParser(
        prog="unimo-bids-slurm",
        usage="unimo-bids-slurm BIDS_DIR OUT_DIR participant [options] [options of unimo-bids]",
        allow_abbrev=False,
        description="Write scripts for a Slurm cluster to WORK_DIR/slurm: an array with a job for "
        "each participant whose results are not complete, and the group level behind it. Time and "
        "memory are estimated from the sizes of the series (--dry-run says them); --nprocs, --mem "
        "and --gpus are those of one job.",
        epilog="Exit codes: 0 done, 1 the machine did not allow it, 2 the input or an argument "
        "cannot be used.",
    )
    add = parser.add_argument
    add("--submit", action="store_true", help="submit the jobs, too")
    add(
        "--image",
        metavar="FILE",
        type=arguments.path,
        help="run in this image, with Apptainer or Singularity (default: this environment)",
    )
    add(
        "--sbatch",
        metavar="'OPTIONS'",
        type=shlex.split,
        default=[],
        help="more options of sbatch, as --sbatch='--partition=short --time=08:00:00'",
    )
    add("--first", metavar="COMMAND", default="", help="a line for each job to begin with")
    add(
        "--at-once",
        metavar="N",
        type=arguments.positive_int,
        help="the most jobs that may run at a time",
    )
    add("--everyone", action="store_true", help="also participants whose results are complete")
    return parser


if __name__ == "__main__":
    sys.exit(main())
