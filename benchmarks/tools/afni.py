"""AFNI ``3dvolreg``, with its one pass or its two."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.tools.base import WATCH, Estimate, Problem, Tool, first_line
from benchmarks.tools.conventions import afni_poses

OPTIONS = ("-Fourier", "-zpad", "4", "-nomaxdisp")


def _version() -> str | None:
    return first_line("3dvolreg", "afni", "-ver")


def _preparer(*more: str) -> Callable[[Problem], Callable[[], Estimate]]:
    def prepare(problem: Problem) -> Callable[[], Estimate]:
        series, mask = problem.write_series(), problem.write_mask()
        weight = () if mask is None else ("-weight", f"{mask}[0]")
        saved = problem.folder / "poses.aff12.1D"
        command = (
            *("3dvolreg", *OPTIONS, *more, "-base", str(problem.reference), *weight),
            *("-prefix", "NULL", "-1Dmatrix_save", saved, series),
        )

        def run() -> Estimate:
            WATCH.run(command, problem.folder)
            return Estimate(afni_poses(saved))

        return run

    return prepare


TOOLS = (
    Tool("3dvolreg", _version, _preparer(), " ".join(OPTIONS), external=True),
    Tool(
        "3dvolreg-twopass",
        _version,
        _preparer("-twopass"),
        " ".join((*OPTIONS, "-twopass")),
        external=True,
    ),
)
