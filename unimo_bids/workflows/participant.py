"""All runs of all participants."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib

from unimo_bids.bids.participants import gestational_weeks, population_of
from unimo_bids.bids.query import BoldRun, Selection
from unimo_bids.execution.naming import workflow_name
from unimo_bids.files.voxels import BEST_COMPRESSION
from unimo_bids.settings import Settings
from unimo_bids.workflows.bold import init_bold_wf
from unimo_bids.workflows.described import DescribedWorkflow


def init_unimo_wf(
    selection: Selection, settings: Settings, *, use_gpu: bool = False, omp_nthreads: int = 1
) -> DescribedWorkflow:
    """Correct all selected runs, each on its own, in a workflow for each participant."""

    def bold(run: BoldRun) -> DescribedWorkflow:
        return init_bold_wf(
            run,
            settings,
            population=_population(run, settings),
            age=gestational_weeks(settings.bids_dir, run.participant, run.session),
            use_gpu=use_gpu,
            omp_nthreads=omp_nthreads,
            series_gb=series_gb(run.paths[0]),
        )

    workflow = DescribedWorkflow("unimo_bids_wf")
    for label, runs in selection.participants.items():
        participant = DescribedWorkflow(f"{workflow_name(f'sub-{label}')}_wf")
        participant.add_nodes([bold(run) for run in runs])
        workflow.add_nodes([participant])
    return workflow


def series_gb(path: Path) -> float:
    """Size of a series in memory, float32; 0 if it is unknown: the run itself will say why.

    A header that claims more than the file can hold is not believed.
    """
    try:
        image = nib.nifti1.Nifti1Image.from_filename(path)
        most = path.stat().st_size * (BEST_COMPRESSION if path.suffix == ".gz" else 1)
        values = math.prod(image.shape)
    except Exception:  # nibabel has many ways to fail; the run's own reader names the fault
        return 0.0
    return values * 4 / 2**30 if values * image.get_data_dtype().itemsize <= most else 0.0


def _population(run: BoldRun, settings: Settings) -> tuple[str | None, str]:
    if settings.population != "auto":
        return settings.population, "--population"
    return population_of(settings.bids_dir, run.participant, run.session)
