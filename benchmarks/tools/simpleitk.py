"""SimpleITK: mutual information, regular-step gradient descent, three levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.tools.base import Estimate, Problem, Tool, package_version
from benchmarks.tools.conventions import sampled_matrix


def _prepare(problem: Problem) -> Callable[[], Estimate]:
    import SimpleITK as sitk  # noqa: N813 - its usual name

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(problem.threads)
    plain = problem.plain

    def image(data: np.ndarray) -> sitk.Image:
        made = sitk.GetImageFromArray(np.ascontiguousarray(data.T))  # SimpleITK wants (z, y, x)
        made.SetSpacing(np.diag(plain)[:3].tolist())
        made.SetOrigin(plain[:3, 3].tolist())
        return made

    fixed = image(problem.frame(problem.reference))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.5, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-4, numberOfIterations=300, gradientMagnitudeTolerance=1e-8
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    if problem.mask is not None:
        method.SetMetricFixedMask(image((problem.mask > 0.5).astype(np.uint8)))

    center = plain @ [*(_center_of_mass(problem.frame(problem.reference))), 1]

    def start(shift: Sequence[float] = (0.0, 0.0, 0.0)) -> sitk.VersorRigid3DTransform:
        transform = sitk.VersorRigid3DTransform()
        transform.SetCenter(center[:3].tolist())
        transform.SetTranslation(list(shift))
        return transform

    def run() -> Estimate:
        poses = np.tile(np.eye(4), (problem.data.shape[3], 1, 1))
        before = start()
        for t in range(len(poses)):
            if t == problem.reference:
                continue
            frame = problem.frame(t)
            moving = image(frame)
            shift = plain @ [*(_center_of_mass(frame)), 1] - center
            candidates: list[tuple[float, int, sitk.Transform]] = []
            for guess in (start(), start(shift[:3].tolist()), before):
                method.SetInitialTransform(guess, inPlace=False)
                candidates.append((method.MetricEvaluate(fixed, moving), len(candidates), guess))
            method.SetInitialTransform(min(candidates)[2], inPlace=False)
            try:
                found = method.Execute(fixed, moving)
            except RuntimeError:  # the images no longer overlap
                poses[t] = np.nan
                continue
            poses[t] = sampled_matrix(found.TransformPoint)
            before = start()
            before.SetParameters(sitk.CompositeTransform(found).GetBackTransform().GetParameters())
        return Estimate(poses)

    return run


def _center_of_mass(volume: np.ndarray) -> np.ndarray:
    weight = volume.clip(min=0).astype(np.float64)
    axes = [np.arange(n) for n in volume.shape]
    others = [(1, 2), (0, 2), (0, 1)]
    return np.array(
        [weight.sum(axis=o) @ axis / weight.sum() for axis, o in zip(axes, others, strict=True)]
    )


TOOLS = (
    Tool(
        "simpleitk",
        package_version("SimpleITK"),
        _prepare,
        "VersorRigid3D, Mattes MI with 32 bins on 50 %, regular-step gradient descent, 3 levels, "
        "from the identity, the centres of mass or the frame before, whichever fits best",
    ),
)
