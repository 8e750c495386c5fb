"""One run of BOLD, from the raw series to its derivatives."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from nipype.interfaces.base import BaseInterface
from nipype.pipeline import engine as pe

from unimo_bids.bids.motion import GivenMotion
from unimo_bids.bids.query import BoldRun
from unimo_bids.execution.naming import workflow_name
from unimo_bids.interfaces.confounds import WriteConfounds
from unimo_bids.interfaces.figures import DrawRun
from unimo_bids.interfaces.motion import EstimateMotion, ReadMotion, TrackHead
from unimo_bids.interfaces.prepare import PrepareRun
from unimo_bids.interfaces.series import ResampleSeries
from unimo_bids.interfaces.sink import SaveDerivatives
from unimo_bids.settings import Settings
from unimo_bids.spaces.names import output_spaces
from unimo_bids.workflows.deform import (
    distortion_facts,
    distortion_paragraphs,
    seek_distortion,
)
from unimo_bids.workflows.described import DescribedWorkflow
from unimo_bids.workflows.slices import (
    follow_slices,
    in_time,
    slice_axis,
    slice_paragraphs,
    slice_warnings,
)
from unimo_bids.workflows.spaces import carry_to_spaces, connect_spaces, space_sentences

# Python with torch, before it holds any data
_PROGRAM_GB = 0.5
# nodes that neither use several threads nor a GPU
_LIGHT = {"confounds", "figures", "save"}


def init_bold_wf(
    run: BoldRun,
    settings: Settings,
    *,
    population: tuple[str | None, str] = (None, ""),
    age: float | None = None,
    use_gpu: bool = False,
    omp_nthreads: int = 1,
    series_gb: float = 0.1,
) -> DescribedWorkflow:
    """Correct the motion of a run, and write its derivatives and figures.

    Nodes: prepare → track → motion → slices → deform → resample → residual → confounds → figures →
    save, and spaces. There is no track where the motion is given; slices needs the slices' times;
    deform and spaces are there if they are asked for. Only prepare reads the raw series.

    Parameters
    ----------
    population
        ``fetal``, ``infant``, ``adult`` or None, and who says so.
    age
        Gestational age of a fetus in weeks; None if it is not known.
    use_gpu
        Whether nodes that can use a GPU take one of its slots.

    Outputs
    -------
    The files of `bids.names.run_names`, and the run's figures.
    """
    workflow = DescribedWorkflow(_name(run), _methods(run, settings))
    memory = {"mem_gb": step_gb(series_gb), "n_procs": 1}
    heavy = memory | {"n_procs": 1 if use_gpu else omp_nthreads}
    device = {"device": settings.device, "use_gpu": use_gpu}
    apart = {"reference_file": str(run.sbref)} if _uses_sbref(run, settings) else {}
    chosen = {"tracker": settings.tracker, "fusion": settings.fusion, "refine": settings.refine}
    estimate = EstimateMotion(**chosen, **apart, **device)
    interfaces: dict[str, BaseInterface] = {
        "prepare": _prepare(run, settings, population[0], **apart, **device),
        "motion": estimate if run.motion is None else _read_motion(run.motion),
        "resample": ResampleSeries(
            dummy_scans=settings.dummy_scans,
            repetition_time=run.repetition_time,
            **in_time(run, settings),
            **device,
        ),
        "residual": EstimateMotion(**device),
        "confounds": WriteConfounds(
            repetition_time=run.repetition_time,
            fd_radius=None if settings.fd_radius == "auto" else float(settings.fd_radius),
            fd_threshold=settings.fd_threshold,
            dvars_threshold=settings.dvars_threshold,
        ),
        "figures": DrawRun(
            entities=run.name,
            fd_threshold=settings.fd_threshold,
            facts=_facts(run) | distortion_facts(run, settings),
            known_warnings=_warnings(run, settings),
        ),
        "save": SaveDerivatives(run=run, settings=settings, parameters=_parameters(settings)),
    }
    if run.motion is None:
        interfaces["track"] = TrackHead(**chosen, **apart, **device)
    if output_spaces(settings.output_spaces, settings.template):
        interfaces["spaces"] = carry_to_spaces(run, settings, age, **device)
    for name, interface in interfaces.items():
        resources = memory if name in _LIGHT else heavy
        workflow.add_nodes([pe.Node(interface, name=name, **resources)])

    if population[0] is not None:
        workflow.get_node("figures").inputs.population_reason = population[1]
    else:
        workflow.hand_on("prepare", "figures", "population_reason")
    if run.motion is None:
        _connect_track(workflow, refine=settings.refine)
    within = follow_slices(workflow, run, settings, memory)
    poses = seek_distortion(workflow, run, settings, within, memory)
    if "spaces" in interfaces:
        connect_spaces(workflow, poses)
    _connect(workflow, poses)
    return workflow


def _prepare(
    run: BoldRun, settings: Settings, population: str | None, **options: Any
) -> PrepareRun:
    if run.mask is not None:
        options["given_mask"] = str(run.mask)
    if run.hint is not None and _searches_brain(run, settings):
        options |= {"center": run.hint.place, "center_reason": run.hint.reason}
    return PrepareRun(
        in_files=[str(path) for path in run.paths],
        frame=_frame(run, settings),
        slice_axis=slice_axis(run),
        population=population,
        method=settings.brain_extraction,
        # the network reads the shape of every frame's brain
        follow=not settings.refine or settings.tracker == "spaer",
        **options,
    )


def _read_motion(motion: GivenMotion) -> ReadMotion:
    return ReadMotion(
        transforms=str(motion.transforms),
        boldref=str(motion.boldref),
        brain=str(motion.brain),
        confounds=str(motion.confounds),
        about=dict(motion.about),
    )


def _connect_track(workflow: DescribedWorkflow, *, refine: bool) -> None:
    workflow.hand_on("prepare", "track", "reference", first="in_file", motion_mask="mask")
    workflow.hand_on("prepare", "motion", "reference", motion_mask="mask")
    workflow.hand_on("track", "motion", "tracking")
    if refine:
        workflow.hand_on("track", "figures", "tracking")


def _connect(workflow: DescribedWorkflow, poses: str) -> None:
    """Connect the nodes that every run has; `poses` is the node with the final poses of frames."""
    hand_on = workflow.hand_on
    hand_on("prepare", "motion", first="in_file")
    hand_on("prepare", "resample", series="in_files")
    hand_on("prepare", "residual", "reference", still_mask="mask")
    hand_on("prepare", "confounds", "mask", radius="brain_radius")
    for taker in ("resample", "confounds", "figures"):
        hand_on(poses, taker, "motion")
    hand_on(poses, "save", "transforms")
    hand_on("resample", "residual", first="in_file")
    hand_on("resample", "confounds", "non_steady", first="in_file")
    of_brain = ("mask", "probability", "motion_mask", "population", "brain_warnings", "about_brain")
    hand_on("prepare", "figures", "series_warnings", *of_brain)
    hand_on("prepare", "figures", first="original", volume="reference_volume")
    hand_on("prepare", "figures", method="brain_method")
    hand_on("motion", "figures", "boldref", "device_used")
    hand_on("resample", "figures", "tsnr_before", "tsnr_after", "similarity")
    hand_on("resample", "figures", first="corrected", warnings="time_warnings")
    hand_on("residual", "confounds", motion="residual")
    hand_on("confounds", "figures", "confounds", "fd_radius")
    hand_on("prepare", "save", "mask", "about_brain", probability="brain")
    hand_on("motion", "save", "boldref", "about_motion")
    hand_on("resample", "save", "about_time", "tsnr_before", "tsnr_after", out_files="bold")
    hand_on("confounds", "save", "confounds", metadata="confounds_metadata")
    hand_on("figures", "save", "figures")


def _parameters(settings: Settings) -> dict[str, Any]:
    """How the motion is estimated, for the sidecars."""
    return {
        "SoftwareVersion": version("unimo-bids"),
        "Reference": settings.reference,
        "Interpolation": "cubic",
    }


def step_gb(series_gb: float) -> float:
    """Memory that every step of a run declares: it holds two copies of the series at most."""
    return _PROGRAM_GB + 2 * series_gb


def _name(run: BoldRun) -> str:
    """``ses_1_task_rest_wf``: progress, logs and crash files read the entities from it."""
    parts = [f"{key}_{value}" for key, value in run.entities.items() if key != "sub"]
    return workflow_name("_".join([*parts, "wf"]))


def _frame(run: BoldRun, settings: Settings) -> int | None:
    """Frame that poses are relative to; None if it is still to be chosen."""
    if run.motion is not None and run.motion.about["ReferenceFrame"] >= 0:
        return int(run.motion.about["ReferenceFrame"])
    return settings.reference if isinstance(settings.reference, int) else None


def _uses_sbref(run: BoldRun, settings: Settings) -> bool:
    return settings.reference == "sbref" and run.sbref is not None


def _searches_brain(run: BoldRun, settings: Settings) -> bool:
    """Whether the brain is searched for by a method that can start from a given place."""
    return run.mask is None and settings.brain_extraction in ("auto", "unimo")


def _warnings(run: BoldRun, settings: Settings) -> list[str]:
    warnings = [*run.warnings, *slice_warnings(run, settings)]
    if settings.reference == "sbref" and run.sbref is None:
        warnings.append("There is no single-band reference: a still frame took its place.")
    if run.hint is not None and not _searches_brain(run, settings):
        way = f"--brain-extraction {settings.brain_extraction}"
        instead = way if run.mask is None else "a mask"
        warnings.append(
            f"The place of the brain ({run.hint.reason}) was not used: {instead} was given."
        )
    return warnings


def _facts(run: BoldRun) -> dict[str, str]:
    """What is known before anything is computed, for the summary."""
    if run.volume_timing is not None:
        timing = "uneven (VolumeTiming)"
    else:
        timing = "unknown" if run.repetition_time is None else f"{run.repetition_time:g} s"
    echoes = f"{len(run.paths)} (motion of the first)" if len(run.paths) > 1 else "1"
    return {"Repetition time": timing, "Echoes": echoes}


def _reference_sentence(run: BoldRun, settings: Settings) -> str:
    if _uses_sbref(run, settings):
        return "Head motion was estimated relative to the single-band reference of the run."
    some = " without a single-band reference" if settings.reference == "sbref" else ""
    frame = (
        "a frame from the stretch of lowest motion"
        if isinstance(settings.reference, str)
        else f"frame {settings.reference}"
    )
    return f"Head motion of each run{some} was estimated relative to one reference, {frame}."


def _brain_sentence(run: BoldRun, settings: Settings) -> str:
    if run.mask is not None or settings.brain_extraction == "derivatives":
        return "Where masks of another program were given, the brain was taken from them."
    if settings.brain_extraction == "epi":
        return "The brain was found by intensity and shape (an EPI mask)."
    sentence = (
        "The brain was found by two convolutional networks (U-Nets after Ronneberger et al. 2015) "
        "trained on synthetic volumes of random contrast (Billot et al. 2023) and real fetal stacks"
    )
    if settings.brain_extraction == "auto":
        sentence += ", or by intensity and shape where these were in doubt"
    by_search = settings.refine and settings.tracker != "spaer"
    followed = "Brains of fetuses were" if by_search else "It was"
    return sentence + f". {followed} followed through all frames."


def _motion_sentence(settings: Settings) -> str:
    network = (
        "an equivariant network (steerable convolutions, Weiler et al. 2018) that reads image and "
        "shape, after UniMo (Wang et al. 2024)"
    )
    series = (
        "a network that attends to all frames of the series (Vaswani et al. 2017), after SpaER "
        f"(Wang, Faghihpirayesh et al. 2024), upon what {network} sees in each"
    )
    if not settings.refine:
        answered = network if settings.tracker == "search" else series
        return f"The pose of every frame is the answer of {answered}, without refinement."
    began = f"beginning with the poses of {series}" if settings.tracker == "spaer" else "at rest"
    return (
        f"The head was followed through the series at low resolution, {began}; where no "
        f"neighbouring pose explained a frame, from the pose of {network}, and then by a global "
        "search over all rotations. Every frame was then registered to the robust mean of aligned "
        "frames by inverse-compositional Gauss–Newton (Baker & Matthews 2004) with Cauchy weights "
        "(Holland & Welsch 1977). Frames that could not be registered were bridged between their "
        "neighbours, or marked as lost."
    )


def _methods(run: BoldRun, settings: Settings) -> list[str]:
    """What was done, for the methods section: paragraphs that other runs may share."""
    if run.motion is not None:
        paragraphs = ["Head motion and brain were those that an earlier call had estimated."]
    else:
        paragraphs = [
            _reference_sentence(run, settings),
            _brain_sentence(run, settings),
            _motion_sentence(settings),
        ]
    if run.echoes:
        paragraphs.insert(
            -1, "Of several echoes, motion was estimated on the first and applied to all."
        )
    paragraphs += slice_paragraphs(run, settings) + distortion_paragraphs(run, settings)
    paragraphs.append(
        "Each frame was resampled once, by cubic B-splines (Unser 1999), from the raw data."
    )
    if output_spaces(settings.output_spaces, settings.template):
        paragraphs.append(space_sentences(settings))
    paragraphs.append(
        "Framewise displacement (Power et al. 2012), root-mean-square displacement (Jenkinson "
        "1999) and standardised DVARS (Nichols 2017, corrected for the number of frames) were "
        "calculated; frames above "
        f"{settings.fd_threshold:g} mm or {settings.dvars_threshold:g} standardised DVARS, bridged "
        "or lost ones are recommended for censoring, those that correction could not undo apart."
    )
    return paragraphs
