"""ANTs, as the ``antsRegistration`` program and as the Python package antspyx.

Not ``antsMotionCorr``: its table of parameters does not name the centre of the rotations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.tools.base import WATCH, Estimate, Problem, Tool, first_line, package_version
from benchmarks.tools.conventions import ants_matrix, flipped


def _prepare_program(problem: Problem) -> Callable[[], Estimate]:
    frames = [problem.write_frame(t) for t in range(problem.data.shape[3])]
    mask = problem.write_mask()
    fixed = frames[problem.reference]

    def register(t: int) -> np.ndarray:
        if t == problem.reference:
            return np.eye(4)
        prefix = problem.folder / f"frame{t:04d}_"
        command = [
            *("antsRegistration", "-d", "3", "-o", str(prefix), "--float", "1"),
            *("-r", f"[{fixed},{frames[t]},1]", "-t", "Rigid[0.1]"),
            *("-m", f"MI[{fixed},{frames[t]},1,32,Regular,0.2]"),
            *("-c", "[1000x500x250,1e-6,10]", "-s", "2x1x0", "-f", "4x2x1"),
            *([] if mask is None else ["-x", f"[{mask},NULL]"]),
        ]
        WATCH.run(command, problem.folder)
        return flipped(ants_matrix(f"{prefix}0GenericAffine.mat"))

    return lambda: Estimate(np.stack([register(t) for t in range(len(frames))]))


def _prepare_package(problem: Problem) -> Callable[[], Estimate]:
    import ants

    plain = problem.plain
    # the plain grid's coordinates are handed over as they are: nothing is LPS here
    grid = {"origin": tuple(plain[:3, 3]), "spacing": tuple(np.diag(plain)[:3])}

    def image(data: np.ndarray) -> ants.ANTsImage:
        return ants.from_numpy(np.ascontiguousarray(data, dtype=np.float32), **grid)

    fixed = image(problem.frame(problem.reference))
    mask = None if problem.mask is None else image(problem.mask > 0.5)

    def register(t: int) -> np.ndarray:
        if t == problem.reference:
            return np.eye(4)
        found = ants.registration(
            fixed,
            image(problem.frame(t)),
            "Rigid",
            mask=mask,
            mask_all_stages=mask is not None,
            outprefix=str(problem.folder / f"frame{t:04d}_"),
            aff_iterations=(1000, 500, 250),
            aff_shrink_factors=(4, 2, 1),
            aff_smoothing_sigmas=(2, 1, 0),
        )
        return ants_matrix(found["fwdtransforms"][0])

    return lambda: Estimate(np.stack([register(t) for t in range(problem.data.shape[3])]))


_OPTIONS = "rigid, Mattes MI with 32 bins on 20 %, 3 levels, from the centres of mass"
TOOLS = (
    Tool(
        "antsregistration",
        lambda: first_line("antsRegistration", "antsRegistration", "--version"),
        _prepare_program,
        _OPTIONS,
        external=True,
    ),
    Tool("antspyx", package_version("antspyx"), _prepare_package, _OPTIONS),
)
