import json

import nibabel as nib
import numpy as np
import pytest
import torch

from unimo_bids.simulation import (
    artefacts,
    centered_affine,
    fetal_surroundings,
    kinematics,
    physiology,
    simulate,
    write_bids_dataset,
)
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import index_map, voxel_centers
from unimo_bids.spatial.interpolation import sample_cubic, spline_coefficients

SMALL = {"shape": (28, 30, 22), "voxel_sizes": (4.0, 4.0, 5.0)}


@pytest.fixture(scope="module")
def body():
    return fetal_surroundings(seed=1, head_radius=32, voxel_mm=5)


def corrected(series, t):
    """Frame t sampled at pose @ x."""
    affine = torch.as_tensor(series.affine)
    indices = rigid.transform(
        index_map(affine, torch.as_tensor(series.poses[t]), affine),
        voxel_centers(series.data.shape[:3]),
    )
    frame = torch.from_numpy(series.data[..., t].copy())[None, None].double()
    return sample_cubic(spline_coefficients(frame), indices[None])[0, 0].reshape(
        series.data.shape[:3]
    ).numpy()  # fmt: skip


def test_poses_are_relative_to_the_reference(head):
    motion = kinematics.uniform_range(4, 8, 20, seed=0)
    series = simulate(head, motion, reference=2, **SMALL)
    assert series.data.shape == (28, 30, 22, 4)
    assert series.data.dtype == np.float32
    np.testing.assert_array_equal(series.poses[2], np.eye(4))
    for t in range(4):
        np.testing.assert_allclose(series.poses[t] @ motion[2], motion[t], atol=1e-12)


def test_brain_and_its_points_are_where_the_reference_shows_them(head):
    motion = kinematics.uniform_range(2, 8, 40, seed=1)
    series = simulate(head, motion, reference=1, **SMALL)
    index = np.linalg.inv(series.affine) @ np.c_[series.brain_points, np.ones(4000)].T
    voxel = np.rint(index[:3]).astype(int)
    assert (series.brain[tuple(voxel)] > 0.2).mean() > 0.97
    volume = series.brain.sum() * np.prod(SMALL["voxel_sizes"])
    assert volume == pytest.approx(head.brain_fraction().sum(), rel=0.02)


def test_masks_follow_the_head(head):
    motion = kinematics.still(2)
    motion[1, :3, 3] = (8.0, -4.0, 5.0)  # whole voxels
    masks = simulate(head, motion, **SMALL).brain_masks()
    assert masks.shape == (28, 30, 22, 2)
    assert masks.dtype == np.uint8
    assert masks[..., 0].sum() * 80 == pytest.approx(head.brain_fraction().sum(), rel=0.05)
    np.testing.assert_array_equal(np.roll(masks[..., 0], (2, -1, 1), (0, 1, 2)), masks[..., 1])


def test_surroundings_stand_still_behind_the_head(head, body):
    motion = kinematics.still(2)
    motion[1, :3, 3] = (16, 0, 0)
    series = simulate(head, motion, surroundings=body, **SMALL)
    away = (simulate(head, motion, **SMALL).data == 0).all(axis=-1)
    assert away.mean() > 0.3
    frames = series.data[away]
    # the head's presence is zero there but for the rounding of a float32
    np.testing.assert_allclose(frames[:, 0], frames[:, 1], rtol=1e-6)
    assert frames.max() > 100
    # where the head has left, amniotic fluid comes to light
    left = (series.brain_masks()[..., 0] > 0) & (series.scene.brain(1) == 0)
    assert np.median(series.data[..., 1][left]) > 1.2 * np.median(series.data[..., 0][left])


def test_series_are_their_seed_and_frames_do_not_depend_on_each_other(head, body):
    parts = (
        artefacts.TornVolume(probability=0.5),
        physiology.PhaseEncodeDistortion(),
        physiology.BoldFluctuation(),
        artefacts.ContrastChange(frames=(2,)),
        artefacts.SpinHistory(),
        artefacts.ReceiveBias(),
        artefacts.Drift(),
        artefacts.RicianNoise(20),
    )
    motion = kinematics.synthetic_fetal(3, "severe", seed=2)
    same = {"surroundings": body, "artefacts": parts, **SMALL}
    series = simulate(head, motion, seed=5, **same)
    assert np.isfinite(series.data).all()
    np.testing.assert_array_equal(series.scene.frame(1), series.data[..., 1])
    np.testing.assert_array_equal(simulate(head, motion, seed=5, **same).data, series.data)
    assert np.abs(simulate(head, motion, seed=6, **same).data - series.data).mean() > 5


def test_activation_is_found_again_with_the_true_poses(head):
    task = physiology.Activation(amplitude=0.05, width=0.3, block=8.0)
    motion = kinematics.smooth_with_spikes(24, 3, 6, seed=1)
    series = simulate(
        head, motion, shape=(32, 34, 32), voxel_sizes=3.0, psf_mm=5.0, artefacts=[task], reference=3
    )
    known = series.activation
    assert known.regressor.shape == (24,)
    assert known.regressor.max() > 0.8
    frames = np.stack([corrected(series, t) for t in range(24)])
    design = np.c_[np.ones(24), known.regressor]
    baseline, slope = np.linalg.lstsq(design, frames.reshape(24, -1), rcond=None)[0]
    inner = series.brain.ravel() > 0.95
    found = slope[inner] / baseline[inner]
    # noise-free: what is left is interpolation, which the motion correlates with the task a little
    assert np.corrcoef(found, known.map.ravel()[inner])[0, 1] > 0.97
    active = known.map.ravel()[inner] > 0.02
    assert found[active].mean() == pytest.approx(known.map.ravel()[inner][active].mean(), rel=0.1)
    raw = np.moveaxis(series.data, -1, 0).reshape(24, -1)
    baseline, slope = np.linalg.lstsq(design, raw, rcond=None)[0]
    uncorrected = np.corrcoef(slope[inner] / baseline[inner], known.map.ravel()[inner])[0, 1]
    assert uncorrected < 0.9


def test_bids_dataset_can_be_read_and_holds_the_truth(head, tmp_path):
    task = physiology.Activation()
    oblique = kinematics.poses_from(np.array([[0, 10.0, 20.0]]), np.zeros((1, 3)))[0]
    affine = oblique @ centered_affine((16, 18, 12), (-6.0, 6.0, 7.0))
    motion = kinematics.uniform_range(3, 5, 10, seed=0)
    series = simulate(
        head, motion, shape=(16, 18, 12), affine=affine, artefacts=[task], repetition_time=2.5
    )
    runs = {"sub-01_ses-a_task-rest_run-1": series, "sub-02_task-rest": series}
    folder = write_bids_dataset(tmp_path / "ds", runs)
    description = json.loads((folder / "dataset_description.json").read_text())
    assert {"Name", "BIDSVersion", "DatasetType"} <= description.keys()
    assert (folder / "participants.tsv").read_text().split() == [
        "participant_id", "sub-01", "sub-02",
    ]  # fmt: skip
    stem = "sub-01/ses-a/func/sub-01_ses-a_task-rest_run-1"
    image = nib.load(folder / f"{stem}_bold.nii.gz")
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)
    np.testing.assert_allclose(image.get_fdata(), series.data, atol=0.5)  # whole numbers
    assert image.header.get_zooms()[3] == 2.5
    assert image.header.get_xyzt_units() == ("mm", "sec")
    sidecar = json.loads((folder / f"{stem}_bold.json").read_text())
    assert sidecar == {"TaskName": "rest", "RepetitionTime": 2.5}
    truth = folder / "sourcedata" / "truth" / "sub-02"
    np.testing.assert_array_equal(np.load(truth / "sub-02_task-rest_poses.npy"), series.poses)
    mask = nib.load(truth / "sub-02_task-rest_desc-brain_mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj) > 0, series.brain > 0.5)
    found = nib.load(truth / "sub-02_task-rest_desc-activation_boldmap.nii.gz").get_fdata()
    np.testing.assert_allclose(found, series.activation.map)
    with pytest.raises(ValueError, match="not like sub-01"):
        write_bids_dataset(tmp_path / "other", {"01/rest": series})
    assert not (tmp_path / "other").exists()
