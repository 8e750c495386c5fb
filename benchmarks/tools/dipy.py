"""DIPY's rigid registration by mutual information."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.tools.base import Estimate, Problem, Tool, package_version


def _prepare(problem: Problem) -> Callable[[], Estimate]:
    from dipy.align import affine_registration

    plain = problem.plain
    static = problem.frame(problem.reference)
    mask = None if problem.mask is None else (problem.mask > 0.5).astype(np.int32)

    def register(t: int) -> np.ndarray:
        if t == problem.reference:
            return np.eye(4)
        _, static_to_moving = affine_registration(
            problem.frame(t),
            static,
            moving_affine=plain,
            static_affine=plain,
            pipeline=["center_of_mass", "translation", "rigid"],
            static_mask=mask,
        )
        return static_to_moving

    return lambda: Estimate(np.stack([register(t) for t in range(problem.data.shape[3])]))


TOOLS = (
    Tool(
        "dipy",
        package_version("dipy"),
        _prepare,
        "affine_registration: centre of mass, translation, rigid; MI with 32 bins, 3 levels",
        slow=True,
    ),
)
