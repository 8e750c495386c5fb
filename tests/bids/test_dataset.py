"""Descriptions and sidecars, judged by the programs that read them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from tests.bids.layouts import dataset, image, settings, write
from unimo_bids.bids import names
from unimo_bids.bids.dataset import check_output, prepare_dataset
from unimo_bids.bids.names import run_names, sidecar
from unimo_bids.bids.query import find_runs
from unimo_bids.bids.sidecars import sidecars
from unimo_bids.bids.validation import validate
from unimo_bids.errors import InputError
from unimo_bids.files.transforms import write_itk

SERIES = (
    "sub-01_ses-1_task-rest_run-1_bold.nii.gz",
    "sub-01_ses-1_task-rest_run-2_bold.nii",
    "sub-01_ses-2_task-rest_run-1_bold.nii.gz",
    "sub-02_task-rest_echo-1_bold.nii.gz",
    "sub-02_task-rest_echo-2_bold.nii.gz",
    "sub-03_task-uneven_bold.nii.gz",
    "sub-04_task-rest_acq-a_ce-b_rec-c_dir-AP_run-01_part-mag_chunk-1_bold.nii.gz",
)
PARAMETERS = {"Model": "rigid", "ReferenceFrame": 3, "Device": "cpu"}
MOTION = {"ReferenceFrame": 4, "Center": [0.0, 1.0, 2.0], "Mode": "plain", "Findings": []}
BRAIN = {
    "BrainMethod": "neural networks",
    "BrainDoubts": ["it is cut"],
    "BrainConfidence": 0.9,
    "BrainCandidates": [{"Center": [1.0, -2.0, 3.0], "Volume": 245.0, "Confidence": 0.9}],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A dataset with everything that can be written about it, and its settings."""
    times = {"1": 0.012, "2": 0.03}
    folder = dataset(
        tmp_path_factory.mktemp("a study"),
        *SERIES,
        sidecars={
            "task-rest_bold.json": {"TaskName": "rest", "RepetitionTime": 2.0},
            "task-uneven_bold.json": {
                "TaskName": "uneven",
                "VolumeTiming": [0, 2, 5, 7],
                "AcquisitionDuration": 1.5,
            },
            **{
                f"sub-02/func/sub-02_task-rest_echo-{n}_bold.json": {"EchoTime": t}
                for n, t in times.items()
            },
        },
    )
    masks = folder / "derivatives" / "masks"
    write(
        masks / "dataset_description.json",
        {
            "Name": "masks",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "masks"}],
        },
    )
    for number in (1, 2):
        name = f"sub-02/func/sub-02_task-rest_echo-{number}_desc-brain_mask.nii.gz"
        image(masks / name, None)
    chosen = settings(folder, derivatives={"masks": masks})
    prepare_dataset(chosen)
    for run in find_runs(chosen).runs:
        outputs = run_names(run.entities, run.echoes)
        for path in outputs.all:
            fake(chosen.out_dir / path)
        for path, content in sidecars(run, outputs, chosen, PARAMETERS, MOTION, BRAIN).items():
            write(chosen.out_dir / path, content)
        write(chosen.out_dir / sidecar(outputs.confounds), {"trans_x": {"Units": "mm"}})
        for extension in (".svg", ".html", ".png"):
            name = f"{names.stem(run.entities)}_desc-carpet_bold{extension}"
            write(chosen.out_dir / f"sub-{run.participant}" / "figures" / name, "x")
        write(chosen.out_dir / names.log_folder(run.participant, "abc") / "settings.toml", "x")
        write(chosen.out_dir / names.report(run.participant), "<html>")
    for path in (names.CITATION, names.GROUP_TABLE, names.GROUP_REPORT):
        write(chosen.out_dir / path, "a\tb\n1\t2\n")
    return chosen


def fake(path: Path) -> None:
    if path.name.endswith("_bold.nii.gz"):
        image(path)
    elif path.suffix == ".gz":
        image(path, None)
    elif path.suffix == ".txt":
        path.parent.mkdir(parents=True, exist_ok=True)
        write_itk(path, np.tile(np.eye(4), (4, 1, 1)))
    else:
        rows = "\n".join("\t".join(["0.1"] * 4) for _ in range(4))
        write(path, f"trans_x\ttrans_y\tframewise_displacement\tstd_dvars\n{rows}\n")


def content(path):
    return json.loads(path.read_text())


def validator():
    return str(Path(sys.executable).parent / "bids-validator-deno")


def test_the_validator_finds_no_error(study):
    assert validate(validator(), study.bids_dir) == []
    # nor among the results any but this one
    stray = write(study.out_dir / "sub-01" / "ses-1" / "func" / "stray.txt", "x")
    assert [one.code for one in validate(validator(), study.out_dir)] == ["NOT_INCLUDED"]
    stray.unlink()


def test_pybids_reads_the_derivatives(study):
    from bids.layout import BIDSLayout

    layout = BIDSLayout(study.bids_dir, derivatives=True)
    found = layout.get(scope="unimo-bids", suffix="bold", desc="preproc", extension=".nii.gz")
    assert len(found) == len(SERIES)
    (one,) = layout.get(scope="unimo-bids", suffix="bold", subject="03", extension=".nii.gz")
    assert one.get_metadata()["VolumeTiming"] == [0, 2, 5, 7]
    masks = layout.get(scope="unimo-bids", suffix="mask", desc="brain", extension=".nii.gz")
    assert len(masks) == len(SERIES) - 1  # two echoes share theirs


def test_sidecar_of_a_series(study):
    stem = "sub-01/ses-1/func/sub-01_ses-1_task-rest_run-2"
    found = content(study.out_dir / f"{stem}_desc-preproc_bold.json")
    boldref = f"bids::{stem}_boldref.nii.gz"
    transforms = f"bids::{stem}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt"
    assert found.pop("Description")
    assert found == {
        "Sources": [f"bids:raw:{stem}_bold.nii", transforms, boldref],
        "SpatialReference": boldref,
        "SkullStripped": False,
        "SliceTimingCorrected": False,
        "StartTime": 0.0,
        "TaskName": "rest",
        "RepetitionTime": 2.0,
        "MotionCorrection": PARAMETERS,
    }
    mask = content(study.out_dir / f"{stem}_desc-brain_mask.json")
    assert mask["Type"] == "Brain" and mask["Sources"] == [boldref]


def test_sidecars_of_echoes_and_uneven_frames(study):
    func = study.out_dir / "sub-02" / "func"
    for echo, time in (("1", 0.012), ("2", 0.03)):
        found = content(func / f"sub-02_task-rest_echo-{echo}_desc-preproc_bold.json")
        assert found["EchoTime"] == time
        assert (
            found["Sources"][0] == f"bids:raw:sub-02/func/sub-02_task-rest_echo-{echo}_bold.nii.gz"
        )
    mask = content(func / "sub-02_task-rest_desc-brain_mask.json")
    assert mask["Sources"][0] == (
        "bids:masks:sub-02/func/sub-02_task-rest_echo-1_desc-brain_mask.nii.gz"
    )
    uneven = content(study.out_dir / "sub-03/func/sub-03_task-uneven_desc-preproc_bold.json")
    assert uneven["VolumeTiming"] == [0, 2, 5, 7] and uneven["AcquisitionDuration"] == 1.5
    assert "RepetitionTime" not in uneven


def test_every_link_leads_somewhere(study):
    links = content(study.out_dir / "dataset_description.json")["DatasetLinks"]
    assert links == {"raw": "../..", "masks": study.derivatives["masks"].as_uri()}
    roots = {"": study.out_dir, "raw": study.bids_dir, "masks": study.derivatives["masks"]}
    uris = []
    for path in study.out_dir.glob("sub-*/**/*.json"):
        found = content(path)
        uris += [*found.get("Sources", []), *filter(None, [found.get("SpatialReference")])]
    assert len(uris) > 50
    for uri in uris:
        scheme, name, path = uri.split(":")
        assert scheme == "bids" and (roots[name] / path).is_file()


def test_description(study, tmp_path, monkeypatch):
    found = content(study.out_dir / "dataset_description.json")
    assert found["DatasetType"] == "derivative"
    assert found["GeneratedBy"] == [{"Name": "unimo-bids", "Version": version("unimo-bids")}]
    # not where it lay: a clone says the same, and git has nothing to merge
    assert found["SourceDatasets"] == [{"URL": "../.."}]

    folder = dataset(tmp_path / "raw", DatasetDOI="https://doi.org/10.18112/openneuro.ds003090.v1")
    away = replace(settings(folder), out_dir=tmp_path / "out é")
    monkeypatch.setenv("APPTAINER_CONTAINER", "/x/a b.sif")
    prepare_dataset(away)
    found = content(away.out_dir / "dataset_description.json")
    container = {"Type": "singularity", "URI": "file:///x/a%20b.sif"}
    assert found["GeneratedBy"][0]["Container"] == container
    assert found["SourceDatasets"] == [{"DOI": "doi:10.18112/openneuro.ds003090.v1"}]
    assert found["DatasetLinks"] == {"raw": folder.as_uri()}
    assert validate(validator(), away.out_dir) == []


def test_bidsignore_keeps_what_others_wrote(tmp_path):
    chosen = settings(dataset(tmp_path))
    write(chosen.out_dir / ".bidsignore", "mine\nlogs\n")
    prepare_dataset(chosen)
    lines = (chosen.out_dir / ".bidsignore").read_text().splitlines()
    assert lines[:2] == ["mine", "logs"] and lines.count("logs") == 1
    assert not any(line.endswith("/") for line in lines)  # which the validator would not heed
    prepare_dataset(chosen)
    assert (chosen.out_dir / ".bidsignore").read_text().splitlines() == lines


def test_other_programs_results_are_not_touched(tmp_path):
    chosen = settings(dataset(tmp_path))
    path = write(
        chosen.out_dir / "dataset_description.json",
        {"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep", "Version": "25.2"}]},
    )
    before = path.read_bytes()
    with pytest.raises(InputError, match="holds the results of fMRIPrep; choose another"):
        prepare_dataset(chosen)
    assert path.read_bytes() == before and not (chosen.out_dir / ".bidsignore").exists()
    for other in ({"Name": "raw", "BIDSVersion": "1.9.0"}, [], {"GeneratedBy": 3}, "{", ""):
        write(path, other)
        with pytest.raises(InputError, match="choose another"):
            check_output(chosen.out_dir)


def test_names_of_datasets_that_mean_others_now_are_warned_of(tmp_path):
    folder = dataset(tmp_path / "raw", SERIES[0])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert prepare_dataset(settings(folder, derivatives={"m": tmp_path / "a"})) == ()
    assert prepare_dataset(settings(folder)) == ()
    (warning,) = prepare_dataset(settings(folder, derivatives={"m": tmp_path / "b"}))
    a, b = ((tmp_path / name).as_uri() for name in ("a", "b"))
    assert f"'m' that was {a} for earlier results and is {b} now" in warning
