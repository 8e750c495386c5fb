"""This project."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.tools.base import Estimate, Problem, Tool, package_version


def _prepare(problem: Problem) -> Callable[[], Estimate]:
    import torch  # noqa: PLC0415 - seconds

    from unimo_bids.motion.series import estimate_motion  # noqa: PLC0415 - imports torch

    torch.set_num_threads(problem.threads)
    mask = problem.mask if problem.frame_masks is None else problem.frame_masks

    def run() -> Estimate:
        found = estimate_motion(
            problem.data,
            problem.affine,
            mask=mask,
            reference=problem.reference,
            device=problem.device,
        )
        return Estimate(found.poses, [str(status) for status in found.status])

    return run


TOOLS = (
    Tool("unimo", package_version("unimo-bids"), _prepare, "estimate_motion, defaults", plain=False),
)
