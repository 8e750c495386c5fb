import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from tests import heads
from unimo_bids.errors import InputError
from unimo_bids.simulation import anatomy as tissues
from unimo_bids.simulation import fetal_head, fetal_surroundings, read_label_map


def brain_center(anatomy):
    index = np.array(ndimage.center_of_mass(anatomy.brain_fraction()))
    return anatomy.affine[:3, :3] @ index + anatomy.affine[:3, 3]


def brain_mean(anatomy):
    return anatomy.image()[anatomy.brain_fraction() > 0].mean()


@pytest.fixture(scope="module")
def adult():
    return heads.adult()


@pytest.mark.slow
def test_adult_brain_is_at_the_origin_with_epi_contrast(adult):
    np.testing.assert_allclose(brain_center(adult), 0, atol=1e-3)
    assert brain_mean(adult) == pytest.approx(1000, rel=0.05)
    image = adult.image()
    mean = [image[adult.labels == label].mean() for label in range(9)]
    assert mean[tissues.ADULT_VENTRICLE] > mean[tissues.ADULT_GREY] > mean[tissues.ADULT_WHITE]
    assert mean[tissues.ADULT_WHITE] > mean[tissues.ADULT_SCALP] > 3 * mean[tissues.ADULT_BONE]
    # an adult brain has 1.2 to 2 litres; the MNI template is a large one
    volume = adult.brain_fraction().sum() / 1e6
    assert 1.2 < volume < 2.0
    assert adult.radius == pytest.approx((3 * volume * 1e6 / 4 / np.pi) ** (1 / 3), rel=1e-6)


@pytest.mark.slow
def test_adult_skull_goes_all_around_the_brain_without_touching_it(adult):
    brain = adult.brain_fraction() > 0
    bone = adult.labels == tissues.ADULT_BONE
    assert not (ndimage.binary_dilation(brain) & bone)[:, :, 120:].any()  # above the base
    outward = ndimage.distance_transform_edt(~brain)
    assert 2 < np.median(outward[bone]) < 9


def test_fetal_brain_grows_with_the_weeks():
    radii = [fetal_head(weeks, seed=1, voxel_mm=1.5).radius for weeks in (21, 27, 34)]
    # 40, 150 and 330 ml, give or take a quarter: published fetal brain volumes
    for radius, volume in zip(radii, (40, 150, 330), strict=True):
        assert 4 / 3 * np.pi * radius**3 / 1000 == pytest.approx(volume, rel=0.35)


def test_fetal_head_is_its_seed(head):
    again, other = fetal_head(24, seed=3), fetal_head(24, seed=4)
    np.testing.assert_array_equal(head.labels, again.labels)
    np.testing.assert_array_equal(head.texture, again.texture)
    assert head.labels.shape != other.labels.shape or (head.labels != other.labels).mean() > 0.01
    np.testing.assert_allclose(brain_center(head), 0, atol=1e-3)
    assert brain_mean(head) == pytest.approx(1000, rel=0.07)


def test_surroundings_leave_room_for_the_head_and_fill_the_view():
    body = fetal_surroundings(seed=2, head_radius=45, voxel_mm=4)
    assert body.brain_labels == ()
    index = np.stack(np.meshgrid(*map(np.arange, body.labels.shape), indexing="ij"), -1)
    world = index @ body.affine[:3, :3].T + body.affine[:3, 3]
    near = np.linalg.norm(world, axis=-1) < 30
    assert (body.labels[near] == 1).mean() > 0.98  # amniotic fluid
    assert len(np.unique(body.labels)) >= 10
    assert (body.labels > 0).mean() > 0.6
    assert (fetal_surroundings(seed=3, voxel_mm=4).labels != body.labels).mean() > 0.2


def test_fetal_label_map_gets_a_head(tmp_path):
    labels = np.zeros((40, 50, 40), dtype=np.uint16)
    labels[8:32, 6:44, 8:32] = 4
    labels[10:30, 8:42, 10:30] = 5
    labels[12:28, 10:40, 12:28] = 1
    affine = np.diag([-1.5, 1.5, 1.5, 1])  # flipped: must be reoriented
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "ga30.nii.gz")
    anatomy = read_label_map(tmp_path / "ga30.nii.gz")
    assert anatomy.name == "ga30"
    assert {9, 10} <= set(np.unique(anatomy.labels))  # bone and soft tissue
    assert anatomy.brain_fraction().sum() == (np.isin(labels, (1, 5))).sum()
    np.testing.assert_allclose(brain_center(anatomy), 0, atol=1e-3)


def test_unknown_codes_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 77, np.uint8), np.eye(4)), tmp_path / "odd.nii")
    with pytest.raises(InputError, match=r"odd\.nii.*77"):
        read_label_map(tmp_path / "odd.nii")
