"""The Python in the pages does what they say, on results of a run that is small."""

import json

import nibabel as nib
import numpy as np
import pytest

from tests.docs.pages import code
from unimo_bids import correct_series, write_itk
from unimo_bids.files.tables import write_table
from unimo_bids.qc.confounds import confounds_table
from unimo_bids.qc.dvars import series_signals

NAME = "sub-02_ses-1_task-rest"
FRAMES, TR = 140, 2.0  # 280 s: long enough for cosines
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
STATUS = np.array(["ok"] * FRAMES, dtype="U8")
STATUS[[40, 41]] = "lost"
# a step of 2 mm at 80 and back at 81; frames that nobody knows, and the steps out of these
CENSORED = {40, 41, 42, 80, 81}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A dataset in ``bids`` and what the app makes of it, by its own functions."""
    root = tmp_path_factory.mktemp("pages")
    random = np.random.default_rng(0)
    mask = np.zeros((12, 13, 11), dtype=bool)
    mask[3:9, 3:10, 3:8] = True
    # smooth enough that two cubic interpolations of it agree
    image = 1000 * np.exp(-((np.indices(mask.shape).T - [5.5, 6, 5]) ** 2).sum(-1).T / 20)
    raw = image[..., None] + random.normal(0, 5, (*mask.shape, FRAMES))
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[80, 0, 3] = 2.0

    folder = root / "derivatives" / "sub-02" / "ses-1" / "func"
    raw_folder = root / "bids" / "sub-02" / "ses-1" / "func"
    for place in (folder, raw_folder):
        place.mkdir(parents=True)
    corrected = np.stack(list(correct_series(raw.astype(np.float32), AFFINE, poses)), axis=-1)
    save(raw_folder / f"{NAME}_bold.nii.gz", raw)
    save(folder / f"{NAME}_desc-preproc_bold.nii.gz", corrected)
    save(folder / f"{NAME}_boldref.nii.gz", image)
    save(folder / f"{NAME}_desc-brain_mask.nii.gz", mask)
    write_itk(folder / f"{NAME}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt", poses)
    table = confounds_table(
        poses,
        np.tile(np.eye(6) * 1e-6, (FRAMES, 1, 1)),
        np.zeros(3),
        status=STATUS,
        similarity=np.full(FRAMES, 0.9),
        signals=series_signals(corrected, mask),
        remaining=np.zeros(FRAMES),
        repetition_time=TR,
    )
    write_table(folder / f"{NAME}_desc-confounds_timeseries.tsv", table)
    (folder / f"{NAME}_desc-confounds_timeseries.json").write_text(json.dumps({}))
    # the page on questions looks at another participant; the README at the demo's results
    other = root / "derivatives" / "sub-01" / "ses-1" / "func"
    other.mkdir(parents=True)
    write_table(other / "sub-01_ses-1_task-rest_desc-confounds_timeseries.tsv", table)
    (root / "demo-output").mkdir()
    (root / "demo-output" / "derivatives").symlink_to(root / "derivatives")
    save(root / "bold.nii.gz", raw[..., :6])
    return root


def save(path, data):
    image = nib.Nifti1Image(np.asarray(data, dtype=np.float32), AFFINE)
    if np.ndim(data) == 4:
        image.header.set_zooms((3, 3, 3, TR))
    image.to_filename(path)


def executed(block, results, monkeypatch):
    monkeypatch.chdir(results)
    names = {}
    exec(compile(block, "page", "exec"), names)
    return names


@pytest.mark.parametrize("page", ["README.md", "docs/outputs.md"])
@pytest.mark.filterwarnings("ignore")
def test_signals_of_the_frames_to_keep(page, results, monkeypatch):
    names = executed(code(page, "python")[0], results, monkeypatch)
    assert set(range(FRAMES)) - set(names["kept"].tolist()) >= CENSORED
    assert len(names["kept"]) > FRAMES / 2
    assert names["signals"].shape == (len(names["kept"]), 6 * 7 * 5)
    assert np.isfinite(names["signals"]).all()
    columns = set(names["confounds"].columns)
    assert {"trans_x", "rot_z", "cosine00"} <= columns


def test_transforms_as_matrices(results, monkeypatch):
    poses = executed(code("docs/outputs.md", "python")[1], results, monkeypatch)["poses"]
    assert poses.shape == (FRAMES, 4, 4)
    assert poses[80, 0, 3] == 2.0  # reference → frame, RAS


@pytest.mark.filterwarnings("ignore")
def test_nitransforms_gives_the_same_series(results, monkeypatch):
    names = executed(code("docs/outputs.md", "python")[2], results, monkeypatch)
    folder = results / "derivatives" / "sub-02" / "ses-1" / "func"
    ours = nib.load(folder / f"{NAME}_desc-preproc_bold.nii.gz").get_fdata()
    theirs = names["corrected"].get_fdata()
    inside = (slice(3, 9), slice(3, 10), slice(3, 8))
    # float32 of about 1000; had the direction been the other, hundreds
    assert abs(ours - theirs)[inside].max() < 0.05
    raw = nib.load(results / "bids" / "sub-02" / "ses-1" / "func" / f"{NAME}_bold.nii.gz")
    assert abs(ours - raw.get_fdata())[inside].max() > 50


def test_frames_by_own_thresholds(results, monkeypatch):
    kept = executed(code("docs/faq.md", "python")[0], results, monkeypatch)["kept"].tolist()
    assert 0 in kept  # the first row has no displacement
    assert not {40, 41} & set(kept)


def test_the_library_on_a_file(results, monkeypatch, capsys):
    names = executed(code("docs/one-file.md", "python")[0], results, monkeypatch)
    assert names["motion"].poses.shape == (6, 4, 4)
    assert nib.load(results / "corrected.nii.gz").shape == (12, 13, 11, 6)
