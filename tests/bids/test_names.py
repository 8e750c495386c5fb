from __future__ import annotations

from pathlib import Path

import pytest

from unimo_bids.bids.names import files_in_spaces, parse_series, run_names, sidecar, space_names
from unimo_bids.errors import InputError
from unimo_bids.spaces.names import Space

ENTITIES = {"sub": "01", "ses": "a", "task": "rest", "acq": "x", "run": "02"}


def test_all_names_of_a_run():
    found = run_names(ENTITIES)
    stem = "sub-01/ses-a/func/sub-01_ses-a_task-rest_acq-x_run-02"
    assert [str(path) for path in found.all] == [
        f"{stem}_desc-preproc_bold.nii.gz",
        f"{stem}_boldref.nii.gz",
        f"{stem}_desc-brain_mask.nii.gz",
        f"{stem}_label-brain_probseg.nii.gz",
        f"{stem}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
        f"{stem}_desc-confounds_timeseries.tsv",
        f"{stem}_stat-tsnr_desc-orig_boldmap.nii.gz",
        f"{stem}_stat-tsnr_desc-preproc_boldmap.nii.gz",
    ]
    assert run_names(ENTITIES, level="minimal").bold == ()
    assert len(run_names(ENTITIES, level="minimal").all) == 7


def test_only_the_series_have_echoes():
    found = run_names({"sub": "01", "task": "rest", "part": "mag"}, echoes=("2", "1"))
    assert [path.name for path in found.bold] == [
        "sub-01_task-rest_echo-2_part-mag_desc-preproc_bold.nii.gz",
        "sub-01_task-rest_echo-1_part-mag_desc-preproc_bold.nii.gz",
    ]
    assert found.boldref == Path("sub-01/func/sub-01_task-rest_part-mag_boldref.nii.gz")


@pytest.mark.parametrize(
    ("path", "entities"),
    [
        ("sub-01/func/sub-01_task-rest_bold.nii.gz", {"sub": "01", "task": "rest"}),
        (
            "d/sub-A/ses-1/func/sub-A_ses-1_task-x_dir-AP_run-1_echo-2_sbref.nii",
            {"sub": "A", "ses": "1", "task": "x", "dir": "AP", "run": "1", "echo": "2"},
        ),
        ("sub-02/func/sub-01_task-rest_bold.nii.gz", None),
        ("sub-01/func/sub-01_ses-1_task-rest_bold.nii.gz", None),
        ("sub-01/func/sub-01_task-rest_bold.json", None),
        ("sub-01/func/sub-01_task-rest_run-a_bold.nii", None),
        ("sub-01/func/sub-01_task-rest_bold.nii.gz\n", None),
    ],
)
def test_names_of_raw_series(path, entities):
    assert parse_series(Path(path)) == entities


@pytest.mark.parametrize(
    "bad",
    [
        {"sub": "../../etc", "task": "rest"},
        {"sub": "01", "task": "rest/../../x"},
        {"sub": "01", "task": "rest\n"},
        {"sub": "01", "task": "rest", "evil": "1"},
        {"sub": "01", "task": "<b>"},
    ],
)
def test_no_name_leaves_the_folder(bad):
    with pytest.raises(InputError, match="no BIDS entity"):
        run_names(bad)


def test_names_in_a_standard_space(tmp_path):
    entities = {"sub": "01", "task": "rest"}
    found = space_names(entities, Space("MNIInfant", "1", "2"), ["1", "2"])
    stem, space = "sub-01/func/sub-01_task-rest", "space-MNIInfant_cohort-1_res-2"
    assert [str(path) for path in found.all] == [
        f"{stem}_echo-1_{space}_desc-preproc_bold.nii.gz",
        f"{stem}_echo-2_{space}_desc-preproc_bold.nii.gz",
        f"{stem}_{space}_boldref.nii.gz",
        f"{stem}_{space}_desc-brain_mask.nii.gz",
        f"{stem}_from-boldref_to-MNIInfant+1_mode-image_xfm.h5",
    ]
    assert (
        str(sidecar(found.transform)) == f"{stem}_from-boldref_to-MNIInfant+1_mode-image_xfm.json"
    )
    others = space_names(entities | {"run": "1"}, Space("X")).all
    for path in (*found.all, *run_names(entities).all, *others):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    # neither those of another run nor of the run's own space
    assert files_in_spaces(tmp_path, entities) == sorted(tmp_path / path for path in found.all)
