"""The last step: results are copied whole, opened again, and removed when they are outdated."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.system import study
from unimo_bids.bids.query import BoldRun
from unimo_bids.errors import MachineError
from unimo_bids.interfaces.sink import SaveDerivatives
from unimo_bids.settings import Settings


def done(interface):
    return interface.run().outputs


@pytest.fixture
def sink(tmp_path, bold):
    """A step that saves results, each a file that holds its own name."""
    run = BoldRun((bold,), {"sub": "01", "task": "rest"}, {}, 2.0)
    out = tmp_path / "out"
    made = tmp_path / "made"
    made.mkdir()
    names = ("bold", "boldref", "mask", "brain", "transforms", "confounds", "confounds_metadata",
             "tsnr_before", "tsnr_after")  # fmt: skip
    for name in names:
        if name in ("transforms", "confounds", "confounds_metadata"):
            (made / name).write_text(name)
        else:
            small = nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4))
            small.header["descrip"] = name
            small.to_filename(made / f"{name}.nii.gz")
            (made / f"{name}.nii.gz").rename(made / name)
    figures = [made / f"sub-01_task-rest_desc-{what}_bold.json" for what in ("summary", "zoom")]
    for figure in figures:
        figure.write_text(figure.name)
    inputs = {name: str(made / name) for name in names}

    def save(**options):
        return SaveDerivatives(
            run=run,
            settings=Settings(bold.parent, out, **options),
            figures=[str(one) for one in figures],
            parameters={"Interpolation": "cubic"},
            about_motion={"ReferenceFrame": 0},
            about_brain={"BrainMethod": "given mask"},
            **inputs,
        )

    return save, out


def test_results_are_copied_whole_the_summary_last(sink, here, monkeypatch):
    save, out = sink
    saved = [Path(path) for path in done(save()).out_files]
    assert saved[-1] == out / "sub-01/figures/sub-01_task-rest_desc-summary_bold.json"
    series = out / "sub-01/func/sub-01_task-rest_desc-preproc_bold.nii.gz"
    assert nib.load(series).header["descrip"] == b"bold"
    assert json.loads(series.with_name(series.name.replace("nii.gz", "json")).read_text())[
        "Sources"
    ]
    mask = out / "sub-01/func/sub-01_task-rest_desc-brain_mask.json"
    assert json.loads(mask.read_text())["BrainMethod"] == "given mask"

    # a copy that breaks off leaves what was there
    (here / "made" / "bold").write_text("another")
    monkeypatch.setattr("shutil.copyfile", _break_off)
    with pytest.raises(ValueError, match="broken off"):
        save().run()
    assert nib.load(series).header["descrip"] == b"bold"
    assert study.leftovers(out) == []


@pytest.mark.parametrize("damage", ["cut", "not finite"])
def test_results_are_opened_again_before_they_are_called_done(sink, here, damage):
    save, out = sink
    mask = here / "made" / "mask"
    if damage == "cut":
        mask.write_bytes(mask.read_bytes()[:-9])
    else:
        image = nib.Nifti1Image(np.full((2, 2, 2), np.inf, np.float32), np.eye(4))
        image.to_filename(here / "other.nii.gz")
        (here / "other.nii.gz").replace(mask)
    with pytest.raises(MachineError, match=r"desc-brain_mask\.nii\.gz: it was written and cannot"):
        save().run()
    assert not list(out.rglob("*_mask.nii.gz")) and not list(out.rglob("*summary*"))
    assert study.leftovers(out) == []


def test_what_is_in_its_place_is_not_copied_again(sink, here, monkeypatch):
    save, _ = sink
    assert save().always_run
    done(save())
    monkeypatch.setattr("shutil.copyfile", _break_off)
    assert not save().always_run
    done(save())
    assert SaveDerivatives().always_run  # nothing is known of it yet


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),  # as long as it was
        lambda path: path.write_text("another"),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "func/sub-01_task-rest_desc-preproc_bold.nii.gz",
        "func/sub-01_task-rest_desc-preproc_bold.json",
        "figures/sub-01_task-rest_desc-summary_bold.json",
    ],
)
def test_what_was_removed_or_changed_is_copied_again(sink, here, name, harm):
    save, out = sink
    done(save())
    path = out / "sub-01" / name
    was = path.read_bytes()
    harm(path)
    assert save().always_run
    done(save())
    assert path.read_bytes() == was and not save().always_run


def test_series_that_are_no_longer_made_go(sink, here):
    """Those of another level, other echoes or spaces: their motion may have been another."""
    save, out = sink
    done(save())
    func = out / "sub-01/func"
    gone = ["sub-01_task-rest", "sub-01_task-rest_echo-2"]
    kept = [
        "sub-01_task-rest_run-1_desc-preproc_bold.nii.gz",
        "sub-01_task-resting_echo-1_desc-preproc_bold.nii.gz",
        "sub-01_task-rest_run-1_space-MNI_desc-preproc_bold.nii.gz",
        "sub-01_task-rest_desc-smooth_bold.nii.gz",
        "sub-01_task-rest_desc-preproc_bold.tsv",
    ]
    for name in (*kept, "sub-01_task-rest_space-MNI_desc-preproc_bold.nii.gz"):
        (func / name).touch()
    for kind in ("nii.gz", "json"):
        (func / f"{gone[1]}_desc-preproc_bold.{kind}").touch()
        assert (func / f"{gone[0]}_desc-preproc_bold.{kind}").exists()
    done(save(level="minimal"))
    left = {path.name for path in func.glob("*_bold.*")}
    assert left == set(kept)
    done(save())  # the other way round: what is made stays
    assert (func / f"{gone[0]}_desc-preproc_bold.nii.gz").exists()


def test_a_field_is_its_own_sidecar_and_goes_where_none_is_found(sink, here):
    save, out = sink
    coefficients = here / "made" / "distortion.json"
    coefficients.write_text(json.dumps({"Axis": 1}))
    step = save()
    step.inputs.distortion, step.inputs.displacement = str(coefficients), step.inputs.mask
    step.inputs.about_distortion = {"finding": "so it is", "corrected": True}
    done(step)
    run = out / "sub-01/func/sub-01_task-rest"
    field = Path(f"{run}_from-orig_to-boldref_mode-image_desc-deform_xfm.json")
    saved = json.loads(field.read_text())
    assert saved["Axis"] == 1 and saved["Sources"]
    poses = Path(f"{run}_from-orig_to-boldref_mode-image_desc-hmc_xfm.json")
    assert json.loads(poses.read_text())["Distortion"]["finding"] == "so it is"
    assert Path(f"{run}_desc-displacement_boldmap.json").exists() and not step.always_run
    done(save())
    assert not field.exists() and not list(field.parent.glob("*displacement*"))
    assert "Distortion" not in json.loads(poses.read_text())


def _break_off(source, target):
    Path(target).write_bytes(Path(source).read_bytes()[:2])
    raise ValueError("broken off")
