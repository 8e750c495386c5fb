"""`unimo_bids.motion`, and its parts left out one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from benchmarks.tools.base import Estimate, Problem, Tool, package_version


def _preparer(
    *, extraction: bool = False, follow: bool = False, **settings: Any
) -> Callable[[Problem], Callable[[], Estimate]]:
    def prepare(problem: Problem) -> Callable[[], Estimate]:
        import torch

        from unimo_bids.motion.estimation import estimate_motion
        from unimo_bids.motion.settings import MotionSettings

        torch.set_num_threads(problem.threads)
        mask = problem.mask if problem.frame_masks is None else problem.frame_masks

        def run() -> Estimate:
            found = estimate_motion(
                problem.data,
                problem.affine,
                mask=_extracted(problem, follow) if extraction else mask,
                reference=problem.reference,
                device=problem.device,
                settings=MotionSettings(**settings),
            )
            return Estimate(found.poses, [str(status) for status in found.status])

        return run

    return prepare


def _extracted(problem: Problem, follow: bool) -> NDArray[Any] | None:
    """The mask that the app would use: of every frame if the brain is a fetus's."""
    from nibabel.nifti1 import Nifti1Header

    from unimo_bids.brain.run import find_series_brain
    from unimo_bids.files.series import Series

    series = Series(problem.data, problem.affine, Nifti1Header(), None, (), problem.folder)
    found = find_series_brain(series, problem.reference, follow=follow, device=problem.device)
    return found.motion_mask


def _tool(name: str, options: str, *, slow: bool = True, **settings: Any) -> Tool:
    version = package_version("unimo-bids")
    return Tool(name, version, _preparer(**settings), options, plain=False, slow=slow)


TOOLS = (
    _tool("unimo", "estimate_motion, defaults", slow=False),
    _tool("unimo-extraction", "the brain found by itself, then estimate_motion", extraction=True),
    _tool("unimo-nosearch", "estimate_motion without global search", search=False),
    _tool("unimo-nonetwork", "estimate_motion without the pose network", network=False),
    _tool(
        "unimo-bare",
        "the brain found in every frame, then the pose network alone",
        extraction=True,
        follow=True,
        refine=False,
    ),
    _tool("unimo-notemplate", "estimate_motion to the reference alone", template=False),
)
