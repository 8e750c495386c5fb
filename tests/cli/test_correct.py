from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from tests.cli import faked, fuzz
from tests.cli.conftest import AFFINE, save
from unimo_bids.brain import run as brain_run
from unimo_bids.brain.mask import BrainMask, Candidate, given_brain
from unimo_bids.cli.correct import main
from unimo_bids.files.transforms import read_itk
from unimo_bids.pipeline import steps
from unimo_bids.simulation import artefacts, fetal_head, simulate

NAMES = {
    "bold_corrected.nii.gz",
    "bold_xfm.txt",
    "bold_motion.tsv",
    "bold_poses.npy",
    "bold_template.nii.gz",
    "bold_mask.nii.gz",
    "bold_tsnr-before.nii.gz",
    "bold_tsnr-after.nii.gz",
    "bold_summary.png",
    "bold_summary.json",
}


def names(folder):
    return {path.name for path in folder.iterdir()}


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_all_outputs(bold, data, tmp_path, fake, capsys):
    out = tmp_path / "out"
    assert main([str(bold), str(out), "--reference", "2"]) == 0
    assert names(out) == NAMES
    printed = capsys.readouterr()
    assert set(printed.out.splitlines()[-10:]) == {str(out / name) for name in NAMES}
    assert "frames: 6 ok" in printed.out
    assert "100 %" in printed.err and "warning" not in printed.err

    poses = np.load(out / "bold_poses.npy")
    assert poses.shape == (6, 4, 4) and poses.dtype == np.float64
    np.testing.assert_array_equal(poses[2], np.eye(4))
    np.testing.assert_allclose(read_itk(out / "bold_xfm.txt"), poses, atol=1e-12)

    # frame 5 moved by +3 mm in R, one voxel towards lower indices, as x runs to the left
    corrected = nib.load(out / "bold_corrected.nii.gz")
    assert corrected.get_data_dtype() == np.int16
    assert corrected.header.get_zooms()[3] == 2.5
    np.testing.assert_array_equal(corrected.affine, AFFINE)
    np.testing.assert_array_equal(corrected.dataobj[..., 2], data[..., 2])
    np.testing.assert_allclose(corrected.dataobj[1:, :, :, 5], data[:-1, :, :, 5], atol=1)

    table = rows(out / "bold_motion.tsv")
    assert [row["status"] for row in table] == ["ok"] * 6
    assert [float(row["trans_x"]) for row in table] == [-2, -1, 0, 1, 2, 3]
    assert [row["framewise_displacement"] for row in table] == ["n/a"] + ["1"] * 5
    assert {row["rot_x_sd"] for row in table} == {"0.001"}
    assert {row["trans_z_sd"] for row in table} == {"0.01"}

    summary = json.loads((out / "bold_summary.json").read_text())
    assert summary["reference"] == 2 and summary["frames"]["ok"] == 6
    assert summary["framewise_displacement_mm"]["mean"] == 1
    before = nib.load(out / "bold_tsnr-before.nii.gz").get_fdata()
    expected = data.mean(-1) / data.std(-1, ddof=1)
    np.testing.assert_allclose(before, expected, rtol=1e-5)


def test_lost_frames_are_flagged_not_fatal(bold, data, tmp_path, fake, capsys):
    data[..., 3] = 0
    save(bold, data)
    out = tmp_path / "out"
    assert main([str(bold), str(out), "--quiet"]) == 0
    table = rows(out / "bold_motion.tsv")
    assert table[3]["status"] == "lost" and table[3]["trans_x"] == "n/a"
    assert [row["framewise_displacement"] for row in table] == ["n/a", "1", "1", "n/a", "n/a", "1"]
    assert table[3]["rot_y_sd"] == "n/a" and table[4]["rot_y_sd"] == "0.001"
    printed = capsys.readouterr()
    assert "5 ok, 1 lost" in printed.out
    assert "1 of 6 frames could not be registered (3)" in printed.err
    # the empty frame is not in the statistics
    kept = np.delete(data, 3, axis=-1)
    before = nib.load(out / "bold_tsnr-before.nii.gz").get_fdata()
    np.testing.assert_allclose(before, kept.mean(-1) / kept.std(-1, ddof=1), rtol=1e-5)


def test_mask_reaches_the_engine(bold, data, tmp_path, fake):
    inside = np.zeros(data.shape[:3], np.uint8)
    inside[3:9, 3:9, 3:9] = 1
    mask = save(tmp_path / "mask.nii.gz", inside)
    assert main([str(bold), str(tmp_path / "out"), "--mask", str(mask), "--no-figure"]) == 0
    written = nib.load(tmp_path / "out" / "bold_mask.nii.gz")
    np.testing.assert_array_equal(written.dataobj, inside)


def test_the_brain_that_was_found_is_told(bold, data, tmp_path, fake, monkeypatch):
    """Its candidates are made by hand, with numbers to copy."""
    places = []

    def extract(volume, affine, method, *, center=None, **_):
        places.append(center)
        mask = np.zeros(volume.shape, np.float32)
        mask[3:9, 3:9, 3:9] = 1
        twins = Candidate((1, 2, 3), 245.0, 0.9), Candidate((12, -30, 44), 131.0, 0.35)
        doubts = ("another region looks like a brain as well (twins?)",)
        return BrainMask(mask > 0, mask, 66, "neural networks", doubts, candidates=twins)

    monkeypatch.setattr(brain_run, "extract_brain", extract)
    out = tmp_path / "out"
    given = [str(bold), str(out), "--quiet", "--no-figure", "--population", "adult"]
    assert main([*given, "--brain-extraction", "unimo"]) == 0
    summary = json.loads((out / "bold_summary.json").read_text())
    assert "choose one with --brain-center=12,-30,44. Check" in summary["warnings"][0]
    assert summary["brain"]["confidence"] == 0.9 and summary["brain"]["method"] == "neural networks"
    assert summary["brain"]["candidates"][1]["center_mm"] == [12.0, -30.0, 44.0]
    assert set(places) == {None}  # the reference, and other frames since that is in doubt
    places.clear()
    assert main([*given, "--overwrite", "--brain-center", "-12,-10.5,14"]) == 0
    assert places == [(-12, -10.5, 14)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mask", "mask.nii"], "--brain-center: with --mask no place is looked at; leave one"),
        (["--brain-extraction", "none"], "with --brain-extraction none no place is looked at"),
        ([], "bold.nii.gz: --brain-center -12,3,40 lies outside of the field of view (x -"),
    ],
)
def test_places_that_cannot_be_used(bold, tmp_path, fake, capsys, words, said):
    refused(capsys, 2, said, bold, tmp_path / "out", *words, "--brain-center", "-12,3,40")
    assert not (tmp_path / "out").exists() or not names(tmp_path / "out")


def refused(capsys, code, match, *arguments):
    assert main([*map(str, arguments), "--quiet"]) == code
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("error: ") and match in sentence and "Traceback" not in sentence


def test_outputs_are_not_overwritten_unasked(bold, tmp_path, fake, capsys):
    out = tmp_path / "out"
    assert main([str(bold), str(out), "--quiet"]) == 0
    stamp = (out / "bold_poses.npy").stat().st_mtime_ns
    capsys.readouterr()
    refused(capsys, 2, "give --overwrite", bold, out)
    assert (out / "bold_poses.npy").stat().st_mtime_ns == stamp
    (out / "bold_distortion.json").write_text("of an earlier call, and not true of this one")
    assert main([str(bold), str(out), "--quiet", "--overwrite"]) == 0
    assert (out / "bold_poses.npy").stat().st_mtime_ns != stamp
    assert names(out) == NAMES


def test_the_input_is_never_overwritten(bold, fake, capsys):
    given = bold.rename(bold.with_name("a_corrected.nii.gz"))
    content = given.read_bytes()
    refused(capsys, 2, "would be overwritten", given, given.parent, "--prefix", "a", "--overwrite")
    assert given.read_bytes() == content
    assert main([str(given), str(given.parent), "--quiet"]) == 0  # beside it is fine
    assert given.read_bytes() == content


def test_bad_files_and_places(bold, tmp_path, fake, capsys):
    refused(capsys, 2, "no such file", tmp_path / "none.nii", tmp_path / "out")
    refused(capsys, 2, "not a file", tmp_path, tmp_path / "out")
    refused(capsys, 2, "is a file", bold, bold)
    refused(capsys, 2, "part of this path is a file", bold, bold / "below")
    refused(capsys, 2, "no such file", bold, tmp_path / "out", "--mask", "none.nii")
    refused(capsys, 2, "without a slash", bold, tmp_path / "out", "--prefix", "../x")
    bold.write_bytes(bold.read_bytes()[:-100])
    refused(capsys, 2, "cut short", bold, tmp_path / "out")
    assert names(tmp_path) == {"in"}


def test_bad_references_and_masks(bold, data, tmp_path, fake, capsys):
    data[..., 4] = 7
    save(bold, data)
    out = tmp_path / "out"
    refused(capsys, 2, "no frame 6 (they are 0 to 5)", bold, out, "--reference", "6")
    refused(capsys, 2, "frame 4 is empty", bold, out, "--reference", "4")
    mask = save(tmp_path / "mask.nii.gz", np.zeros(data.shape[:3], np.uint8))
    refused(capsys, 2, "mask is empty", bold, out, "--mask", mask)
    save(mask, np.ones((3, 3, 3), np.uint8))
    refused(capsys, 2, "has the size", bold, out, "--mask", mask)
    refused(capsys, 2, "an image, not a mask", bold, out, "--mask", bold)
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["in.nii", "out", "--reference", "-1"],
        ["in.nii", "out", "--device", "gpu"],
        ["in.nii", "out", "--fd-radius", "nan"],
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "unimo-correct: error:" in capsys.readouterr().err


def failing(error):
    def estimate(*arguments, **options):
        raise error

    return estimate


@pytest.mark.parametrize(
    "failure",
    [
        (KeyError("surprise"), 1, "unexpected: KeyError: 'surprise'; re-run with --debug"),
        (MemoryError(), 1, "error: memory: there is not enough memory"),
        (RuntimeError("CUDA error: launch failed\nmore"), 1, "try --device cpu"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device"), 1, "full"),
    ],
)
def test_failures_in_the_middle(bold, monkeypatch, capsys, failure):
    error, code, match = failure
    out = bold.parent / "out"
    monkeypatch.setattr(steps, "estimate_motion", failing(error))
    words = [str(bold), str(out), "--quiet", "--brain-extraction", "none"]
    assert main(words) == code
    (sentence,) = capsys.readouterr().err.splitlines()
    assert match in sentence
    assert not (out).exists()
    assert main([*words, "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_help_and_version_are_quick():
    for option in ("--help", "--version"):
        before = os.times().children_user
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "unimo_bids.cli.correct", option],
            check=True,
            capture_output=True,
            text=True,
        )
        assert os.times().children_user - before < 1.0
        assert not any(f"| {name}\n" in done.stderr for name in ("torch", "nibabel", "numpy"))
    assert done.stdout.strip()


def test_the_real_engine(tmp_path):
    moves = np.tile(np.eye(4), (5, 1, 1))
    moves[3:, :3, 3] = (-3, 2, 1)
    truth = simulate(
        fetal_head(weeks=26, seed=3, voxel_mm=2),
        moves,
        shape=(32, 32, 22),
        voxel_sizes=(3.5, 3.5, 4),
        artefacts=(artefacts.RicianNoise(sigma=20),),
    )
    bold = save(tmp_path / "bold.nii.gz", truth.data, truth.affine)
    out = tmp_path / "out"
    assert main([str(bold), str(out), "--reference", "1", "--no-figure", "--quiet"]) == 0
    np.testing.assert_array_equal(np.load(out / "bold_poses.npy")[1], np.eye(4))
    table = rows(out / "bold_motion.tsv")
    assert sum(row["status"] == "ok" for row in table) >= 3
    # this is about signs and files: a tenth of a voxel tells them as well as a hundredth
    for row, shift in zip(table, moves[:, :3, 3], strict=True):
        if row["status"] == "ok":
            found = [float(row[f"trans_{axis}"]) for axis in "xyz"]
            np.testing.assert_allclose(found, shift, atol=0.35)


@pytest.mark.slow
def test_the_bare_network(tmp_path):
    moves = np.tile(np.eye(4), (4, 1, 1))
    moves[2:, :3, 3] = (-6, 4, 2)
    truth = simulate(
        fetal_head(weeks=30, seed=4, voxel_mm=2), moves, shape=(40, 40, 36), voxel_sizes=(4, 4, 4)
    )
    truth.data[..., 3] = np.random.default_rng(0).uniform(0, 1000, truth.data.shape[:3])
    bold = save(tmp_path / "bold.nii.gz", truth.data, truth.affine)
    out = tmp_path / "out"
    options = ["--no-refine", "--tracker", "search", "--fusion", "image"]
    options += ["--brain-extraction", "none", "--quiet"]
    assert main([str(bold), str(out), "--reference", "1", *options]) == 0
    poses = np.load(out / "bold_poses.npy")
    np.testing.assert_array_equal(poses[1], np.eye(4))
    table = rows(out / "bold_motion.tsv")
    assert [row["status"] for row in table[:2]] == ["ok", "ok"]
    assert table[3]["status"] == "lost"  # noise
    assert {row["trans_x_sd"] for row in table} == {"n/a"}  # nobody knows
    assert all(float(row["similarity"]) > 0 for row in table[:3])
    assert np.linalg.norm(poses[0] - np.eye(4)) < np.linalg.norm(poses[2] - np.eye(4))


@pytest.mark.parametrize(("slope", "intercept"), [(-1, 0), (1, -20_000)])
def test_a_series_stored_upside_down_or_below_zero_is_corrected_as_well(tmp_path, slope, intercept):
    poses = []
    for scl_slope, scl_inter in ((1, 0), (slope, intercept)):
        stored = fuzz.with_fields(scl_slope=scl_slope, scl_inter=scl_inter)
        path = tmp_path / f"{len(poses)}.nii"
        path.write_bytes(stored(fuzz.healthy()))
        words = ["--reference", "0", "--no-figure", "--quiet", "--brain-extraction", "epi"]
        assert main([str(path), str(tmp_path), *words]) == 0
        poses.append(np.load(tmp_path / f"{len(poses)}_poses.npy"))
    apart = np.linalg.norm(poses[0][:, :3, 3] - poses[1][:, :3, 3], axis=1)
    # another head region is found, and the voxels measure 8 mm
    assert apart.max() < 0.3


def test_a_brain_of_a_few_voxels_is_not_believed(bold, tmp_path, monkeypatch, fake, capsys):
    monkeypatch.setattr(
        brain_run, "extract_brain",
        lambda volume, affine, *_, **__: given_brain(np.float32(_eight(volume.shape)), affine),
    )  # fmt: skip
    assert main([str(bold), str(tmp_path / "out"), "--quiet", "--no-figure"]) == 0
    assert "it covers 8 voxels" in capsys.readouterr().err


def _eight(shape):
    mask = np.zeros(shape)
    mask[3:5, 3:5, 3:5] = 1
    return mask


def test_outputs_that_cannot_be_opened_are_not_called_done(
    bold, tmp_path, monkeypatch, fake, capsys
):
    def broken(*given, **more):
        estimate = faked.estimate(*given, **more)
        estimate.template[2, 3, 4] = np.nan
        return estimate

    monkeypatch.setattr(steps, "estimate_motion", broken)
    out = tmp_path / "out"
    assert main([str(bold), str(out), "--no-figure", "--quiet"]) == 1
    said = f"error: {out / 'bold_template.nii.gz'}: it was written and cannot be used (not all of"
    assert capsys.readouterr().err.splitlines()[-1].startswith(said)
    assert not out.exists()
