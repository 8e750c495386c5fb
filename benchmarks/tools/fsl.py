"""FSL ``mcflirt``. It knows no mask: where one is given, the target is the masked reference."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.tools.base import WATCH, Estimate, Problem, Tool, first_line
from benchmarks.tools.conventions import fsl_poses


def _version() -> str | None:
    return first_line("mcflirt", "sh", "-c", 'cat "$FSLDIR/etc/fslversion" 2>/dev/null')


def _prepare(problem: Problem) -> Callable[[], Estimate]:
    series = problem.write_series()
    target: tuple[object, ...] = ("-refvol", problem.reference)
    if problem.mask is not None:
        masked = problem.frame(problem.reference) * problem.mask
        target = ("-reffile", problem.write_image("target.nii", masked))
    command = ("mcflirt", "-in", series, "-out", problem.folder / "moved", *target, "-mats")

    def run() -> Estimate:
        WATCH.run([str(word) for word in command], problem.folder)
        matrices = problem.folder / "moved.mat"
        return Estimate(fsl_poses(matrices, problem.data.shape, problem.plain))

    return run


TOOLS = (Tool("mcflirt", _version, _prepare, "-mats, otherwise its defaults", external=True),)
