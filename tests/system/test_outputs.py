"""What the program leaves: read by the programs that users read it with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests import phantom
from tests.system import study
from unimo_bids.bids.validation import validate
from unimo_bids.files.transforms import read_itk
from unimo_bids.reports.reportlets import SECTIONS
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import world_points

SEED = dict(zip(study.RUNS, (1, 2, 3, 4), strict=True))
pytestmark = pytest.mark.slow
XFM = "from-orig_to-boldref_mode-image_desc-hmc_xfm.txt"


def func(run: str) -> Path:
    return Path(*run.partition("_task")[0].split("_"), "func")


def result(done, run: str, ending: str) -> Path:
    return done.out / func(run) / f"{run}_{ending}"


def sidecar(path: Path) -> dict:
    return json.loads(Path(re.sub(r"\.(nii\.gz|tsv|txt)$", ".json", str(path))).read_text())


def columns(path: Path) -> dict[str, list[str]]:
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))


def corrected_of(done, run: str) -> list[Path]:
    return sorted((done.out / func(run)).glob(f"{run}_*desc-preproc_bold.nii.gz"))


def inner() -> np.ndarray:
    """Voxels that are at least two voxels from every face of the grid, and in the head."""
    head = phantom.volume(torch.eye(4, dtype=torch.float64), study.AFFINE, study.SHAPE) > 30
    edge = np.zeros(study.SHAPE, bool)
    edge[3:-3, 3:-3, 3:-3] = True
    return head.numpy() & edge


def test_the_validator_finds_no_error(done):
    program = str(Path(sys.executable).with_name("bids-validator-deno"))
    assert validate(program, done.out) == []
    # without the list of what BIDS has no name for yet it does find some: it has looked
    (done.out / ".bidsignore").rename(done.out / ".hidden")
    try:
        assert validate(program, done.out)
    finally:
        (done.out / ".hidden").rename(done.out / ".bidsignore")


def test_every_file_there_should_be_and_no_other(done):
    endings = (
        "boldref.nii.gz",
        "desc-brain_mask.nii.gz",
        "label-brain_probseg.nii.gz",
        XFM,
        "desc-confounds_timeseries.tsv",
        "stat-tsnr_desc-orig_boldmap.nii.gz",
        "stat-tsnr_desc-preproc_boldmap.nii.gz",
    )
    for run in study.RUNS:
        series = [f"{run}_desc-preproc_bold.nii.gz"]
        if "ses-b" in run:
            series = [f"{run}_echo-{echo}_desc-preproc_bold.nii.gz" for echo in (1, 2)]
        wanted = {*series, *(f"{run}_{ending}" for ending in endings)}
        jsons = {re.sub(r"\.(nii\.gz|tsv|txt)$", ".json", name) for name in wanted}
        there = {path.name for path in (done.out / func(run)).glob(f"{run}_*")}
        assert there == wanted | jsons
    assert study.leftovers(done.out) == []


@pytest.mark.parametrize("run", study.RUNS)
def test_poses_are_those_of_the_head(done, run):
    found = read_itk(result(done, run, XFM))
    true = study.motion(SEED[run]).numpy()
    reference = int(np.argmin(np.abs(found - np.eye(4)).max(axis=(1, 2))))
    true = true @ np.linalg.inv(true[reference])
    points = world_points(study.SHAPE, study.AFFINE).reshape(-1, 3).numpy()[inner().ravel()]
    apart = rigid.displacement(
        torch.as_tensor(found), torch.as_tensor(true), torch.as_tensor(points)
    ).mean(dim=-1)
    moved = rigid.displacement(
        torch.as_tensor(true), torch.eye(4, dtype=torch.float64).expand(12, 4, 4),
        torch.as_tensor(points),
    ).mean(dim=-1)  # fmt: skip
    assert moved.max() > 3
    # a fortieth of a voxel; the median was 0.02 mm
    assert apart.max() < 0.1


@pytest.mark.parametrize("run", study.RUNS)
def test_the_corrected_series_stands_still(done, run):
    for path in corrected_of(done, run):
        image = nib.load(path)
        data = np.asanyarray(image.dataobj)[inner()]
        original = np.asanyarray(raw_of(done, path).dataobj)[inner()]
        assert data.shape == original.shape
        assert data.std(axis=-1).mean() < 0.3 * original.std(axis=-1).mean()
        np.testing.assert_allclose(image.affine, study.AFFINE, atol=1e-5)
        assert image.header.get_xyzt_units() == ("mm", "sec")
        if "uneven" not in run:
            assert image.header.get_zooms()[3] == pytest.approx(study.TR)


def raw_of(done, path: Path):
    name = path.name.replace("_desc-preproc", "")
    folder = done.raw / path.parent.relative_to(done.out)
    (found,) = (*folder.glob(name), *folder.glob(name.removesuffix(".gz")))
    return nib.load(found)


def test_nitransforms_applies_the_transforms_as_we_do(done):
    from nitransforms.linear import LinearTransformsMapping
    from nitransforms.resampling import apply

    run = study.RUNS[0]
    (path,) = corrected_of(done, run)
    ours = np.asanyarray(nib.load(path).dataobj)[inner()]
    raw = raw_of(done, path)
    floats = nib.Nifti1Image(raw.get_fdata(dtype=np.float32), raw.affine, raw.header)
    floats.set_data_dtype(np.float32)
    transforms = LinearTransformsMapping.from_filename(result(done, run, XFM), fmt="itk")
    transforms.reference = nib.load(result(done, run, "boldref.nii.gz"))
    theirs = apply(transforms, floats, order=3).get_fdata()[inner()]
    # ours are whole numbers, as the raw ones: up to one half off
    assert np.abs(theirs - ours).max() < min(0.51, 1e-3 * np.ptp(ours))
    still = raw.get_fdata()[inner()]
    assert np.abs(theirs - still).max() > 0.1 * np.ptp(ours)


def test_all_echoes_are_moved_by_the_same_transforms(done):
    first, second = corrected_of(done, study.RUNS[2])
    assert len(list((done.out / func(study.RUNS[2])).glob("*_xfm.txt"))) == 1
    one, other = (np.asanyarray(nib.load(path).dataobj)[inner()] for path in (first, second))
    # the second echo was made with half the signal and noise of its own
    ratio = one.mean() / other.mean()
    assert ratio == pytest.approx(2, rel=0.01)
    assert np.abs(one / 2 - other).mean() < 0.01 * one.mean()
    assert sidecar(first)["EchoTime"] == 0.012 and sidecar(second)["EchoTime"] == 0.03


def test_nilearn_reads_the_confounds(done):
    from nilearn.interfaces.bids import get_bids_files
    from nilearn.interfaces.fmriprep import load_confounds

    paths = get_bids_files(str(done.out), file_tag="bold", file_type="nii.gz", sub_label="01",
                           filters=[("desc", "preproc")])  # fmt: skip
    assert len(paths) == 4
    single = [path for path in paths if "echo" not in path]
    tables, masks = load_confounds(
        single, strategy=("motion", "high_pass", "scrub"), motion="full",
        fd_threshold=0.5, std_dvars_threshold=1.5,
    )  # fmt: skip
    assert len(tables) == len(masks) == 2
    for table, kept in zip(tables, masks, strict=True):
        assert len(table) == study.FRAMES
        assert {f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"} <= set(table)
        assert table.notna().all(axis=None)
        # nilearn takes out the jump, and what is left between it and an end
        assert 4 <= len(kept) < study.FRAMES and 7 not in kept


def test_sidecars_say_where_things_come_from(done):
    for run in study.RUNS:
        for path in (done.out / func(run)).glob(f"{run}_*.json"):
            about = json.loads(path.read_text())
            for uri in (*about.get("Sources", []), about.get("SpatialReference")):
                if uri is None:
                    continue
                dataset, within = re.fullmatch(r"bids:(\w*):(.+)", uri).groups()
                root = {"": done.out, "raw": done.raw, "masks": done.masks}[dataset]
                assert (root / within).is_file(), uri
    series = sidecar(corrected_of(done, study.RUNS[1])[0])
    assert series["Sources"][0] == f"bids:raw:sub-01/ses-a/func/{study.RUNS[1]}_bold.nii"
    assert series["RepetitionTime"] == study.TR and series["TaskName"] == "rest"
    assert series["SpatialReference"].endswith("boldref.nii.gz")
    uneven = sidecar(corrected_of(done, study.RUNS[3])[0])
    assert tuple(uneven["VolumeTiming"]) == study.ONSETS and "RepetitionTime" not in uneven
    given = sidecar(result(done, study.RUNS[0], "desc-brain_mask.nii.gz"))
    assert any(source.startswith("bids:masks:") for source in given["Sources"])


def test_the_given_mask_was_used(done):
    mask = np.asanyarray(nib.load(result(done, study.RUNS[0], "desc-brain_mask.nii.gz")).dataobj)
    given = nib.load(done.masks / func(study.RUNS[0]) / f"{study.RUNS[0]}_desc-brain_mask.nii.gz")
    poses = read_itk(result(done, study.RUNS[0], XFM))
    reference = int(np.argmin(np.abs(poses - np.eye(4)).max(axis=(1, 2))))
    np.testing.assert_array_equal(mask, np.asanyarray(given.dataobj)[..., reference])


def test_reports_have_every_section(done):
    for label, runs in (("sub-01", study.RUNS[:3]), ("sub-02", study.RUNS[3:])):
        page = (done.out / f"{label}.html").read_text()
        for run in runs:
            for section in SECTIONS:
                if section.what == "candidates":
                    continue  # only where there is a choice
                # only one run was given masks; no head moves within frames; no space, no field
                there = {"masks": run == study.RUNS[0]}
                there |= dict.fromkeys(("within", "spaces", "bending"), False)
                there = there.get(section.what, True)
                assert (f'id="{run}-{section.what}"' in page) == there
        for name in ("overview", "about", "methods", "errors"):
            assert f'id="{name}"' in page
        assert str(done.raw) in page
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
        assert len(page) < 15e6


def test_a_table_and_a_page_of_all_runs(done):
    words = (done.raw, done.out, "group")
    finished = study.call(*words)
    assert finished.code == 0, finished.err
    table = columns(done.out / "group_bold.tsv")
    assert table["run"] == study.RUNS
    first = json.loads(
        (done.out / "sub-01/figures" / f"{study.RUNS[0]}_desc-summary_bold.json").read_text()
    )
    assert float(table["fd_mean"][0]) == pytest.approx(first["numbers"]["fd_mean"], rel=1e-4)
    assert f"sub-02.html#{study.RUNS[3]}" in (done.out / "group_bold.html").read_text()
    assert finished.out.splitlines() == [
        str(done.out / "group_bold.tsv"),
        str(done.out / "group_bold.html"),
    ]


def test_the_library_alone_reads_the_results_of_the_program(done):
    # the snippet that newcomers start from must not need the program's own parts
    code = "import unimo_bids, sys; sys.exit('nipype' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_was_estimated_once_is_applied_again(done, tmp_path):
    words = ("--derivatives", f"before={done.out}", "--work-dir", tmp_path / "work")
    finished = study.call(
        done.raw, tmp_path / "out", "participant", "--participant-label", "01", *words
    )
    assert finished.code == 0, finished.err
    again = replace(done, out=tmp_path / "out")
    for run in (one for one in study.RUNS if "sub-01" in one):
        for before, after in zip(corrected_of(done, run), corrected_of(again, run), strict=True):
            assert np.array_equal(nib.load(before).dataobj, nib.load(after).dataobj)
        for ending in ("desc-brain_mask.nii.gz", "boldref.nii.gz", XFM):
            before, after = (result(one, run, ending).read_bytes() for one in (done, again))
            assert before == after
        tables = [
            columns(result(one, run, "desc-confounds_timeseries.tsv")) for one in (done, again)
        ]
        assert tables[0].keys() == tables[1].keys()
        assert tables[0]["motion_status"] == tables[1]["motion_status"]
        for name in ("framewise_displacement", "trans_x", "rot_z", "trans_y_sd", "rot_x_sd"):
            known = [[one for one in table[name] if one != "n/a"] for table in tables]
            np.testing.assert_allclose(*np.array(known, dtype=float), rtol=1e-6, atol=1e-9)
        about = [sidecar(result(one, run, XFM)) for one in (done, again)]
        assert about[0]["ReferenceFrame"] == about[1]["ReferenceFrame"]
        assert about[1]["Sources"][0].startswith("bids:before:")
    text = (again.out / "logs" / "CITATION.md").read_text()
    assert "an earlier call had estimated" in text
