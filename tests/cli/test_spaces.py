"""Output spaces on the command lines, and a series carried to a template."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from nitransforms.io.itk import ITKCompositeH5

from tests import phantom
from tests.cli import faked
from tests.spaces import heads
from unimo_bids.cli.correct import main
from unimo_bids.cli.options import build_parser
from unimo_bids.files.transforms import read_itk
from unimo_bids.pipeline import steps
from unimo_bids.spatial import rigid

TRUTH = phantom.pose((160, 10, -60), (6.0, -4.0, 9.0)) @ heads.STRETCH


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--output-spaces", "fsaverage"], "surface"),
        (["--output-spaces", "MNI:den-2"], "neither cohort-X nor res-N"),
    ],
)
def test_what_is_no_space_is_refused(capsys, words, match):
    with pytest.raises(SystemExit) as refused:
        build_parser().parse_args(["raw", "out", "participant", *words])
    assert refused.value.code == 2 and match in capsys.readouterr().err


def test_the_axes_of_a_head_need_a_template(tmp_path, bold, capsys):
    assert main([str(bold), str(tmp_path / "out"), "--output-spaces", "anat-axes"]) == 2
    assert "--template" in capsys.readouterr().err


def saved(path, volume):
    nib.save(nib.Nifti1Image(volume, heads.grid().affine.numpy()), path)
    return path


@pytest.mark.slow
def test_a_moving_series_stands_still_in_the_space_of_a_template(tmp_path, monkeypatch):
    """Frame t is moved by t mm along x; the head lies upside down, in another contrast."""
    monkeypatch.setattr(steps, "estimate_motion", faked.estimate)
    template = heads.seen(torch.eye(4).double())
    moves = [rigid.from_parameters(torch.zeros(3), torch.tensor([t, 0.0, 0.0])) for t in range(3)]
    frames = [heads.seen(move.double() @ TRUTH, (1.3, 0.8, 0.4)) for move in moves]
    bold = saved(tmp_path / "bold.nii", np.stack([frame.image for frame in frames], axis=-1))
    mask = saved(tmp_path / "mask.nii", frames[0].mask)
    image, brain = saved(tmp_path / "tpl-P_28.nii", template.image), tmp_path / "brain-28.nii"
    saved(brain, template.mask)
    options = [
        "--reference",
        "0",
        "--mask",
        str(mask),
        "--no-figure",
        "--output-spaces",
        "anat-axes",
    ]
    options += ["--template", f"{tmp_path}/tpl-P_{{age}}.nii:{tmp_path}/brain-{{age}}.nii"]
    out = tmp_path / "out"
    assert main([str(bold), str(out), *options, "--age", "27"]) == 0
    series = nib.load(out / "bold_space-P_corrected.nii.gz")
    assert series.shape == (*template.image.shape, 3) and image.exists()
    values = np.asarray(series.dataobj)[template.mask > 0.5]
    assert np.corrcoef(values.T).min() > 0.999
    # what a head at the true place would show, but for a millimetre
    straight = heads.seen(torch.eye(4).double(), (1.3, 0.8, 0.4)).image[template.mask > 0.5]
    assert np.corrcoef(values[:, 0], straight)[0, 1] > 0.95
    found = ITKCompositeH5.from_filename(out / "bold_space-P_xfm.h5")[0].to_ras()
    apart = rigid.displacement(
        torch.from_numpy(found), TRUTH, 30 * torch.eye(3, dtype=torch.float64)
    )
    assert apart.max() < 2.5  # less than a voxel
    (turn,) = read_itk(out / "bold_space-anataxes_xfm.txt")
    np.testing.assert_allclose(turn[:3, :3] @ turn[:3, :3].T, np.eye(3), atol=1e-9)
    said = json.loads((out / "bold_summary.json").read_text())["spaces"]
    assert said["P"]["TransformType"].startswith("affine") and said["P"]["Doubts"] == []
    assert said["anat-axes"]["TransformType"] == "rigid"
