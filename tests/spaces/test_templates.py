"""Templates by name, from TemplateFlow's folder, and of one's own."""

import nibabel as nib
import numpy as np
import pytest

from tests.spaces import heads
from unimo_bids.errors import InputError, MachineError
from unimo_bids.spaces.names import Space
from unimo_bids.spaces.templateflow import fetch_templates, template_files
from unimo_bids.spaces.templates import covering, named_template, own_template


def ball(path, radius=12.0, shape=(20, 22, 24)):
    """A brain that has been cut out, of a size."""
    where = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    inside = np.linalg.norm(2 * where, axis=0) < radius
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -np.array(shape) + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image((100 * inside).astype(np.int16), affine)
    image.header.set_sform(affine, 4)
    nib.save(image, path)
    return path


def test_the_template_of_the_nearest_age_is_taken(tmp_path):
    for weeks, radius in (("24", 10), ("28", 12), ("32.5", 14)):
        ball(tmp_path / f"tpl-X_{weeks}.nii.gz", radius)
    found = own_template(f"{tmp_path}/tpl-X_{{age}}.nii.gz", 31.9)
    assert found.image.name == "tpl-X_32.5.nii.gz" and str(found.space) == "X"
    assert found.head.radius == pytest.approx(14, rel=0.1) and found.code == 4
    with pytest.raises(InputError, match="age is not known"):
        own_template(f"{tmp_path}/tpl-X_{{age}}.nii.gz")


def test_voxels_as_large_as_the_runs_cover_the_same_view():
    fine = heads.grid(2.0)
    coarse = covering(fine, 3.0)
    ends = [grid.corners().amax(dim=0) + grid.sizes / 2 for grid in (fine, coarse)]
    assert (ends[0] - ends[1]).abs().max() <= 1.5  # half a voxel
    middles = [grid.corners().mean(dim=0) for grid in (fine, coarse)]
    assert (middles[0] - middles[1]).abs().max() < 1e-9


def test_a_folder_that_is_filled_serves_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    folder = tmp_path / "tpl-X" / "cohort-1"
    ball(folder / "tpl-X_cohort-1_res-2_T1w.nii.gz")
    ball(folder / "tpl-X_cohort-1_res-2_desc-brain_mask.nii.gz", 10)
    space = Space("X", "1", "2")
    assert template_files(space).image.name == "tpl-X_cohort-1_res-2_T1w.nii.gz"
    template = named_template(space)
    assert template.grid(heads.grid()) is template.head.grid
    native = named_template(Space("X", "1")).grid(heads.grid())
    assert native.sizes.tolist() == pytest.approx([3, 3, 3])


def test_without_the_file_or_a_network_the_remedy_is_named(tmp_path, monkeypatch):
    """Files of 0 bytes stand for what TemplateFlow has not fetched yet."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))  # where the client writes on import
    monkeypatch.setenv("TEMPLATEFLOW_AUTOUPDATE", "off")
    api = pytest.importorskip("templateflow.api")

    def unreachable(*_args, **_options):
        raise ConnectionError("no route")

    monkeypatch.setattr(api, "get", unreachable)
    (tmp_path / "tpl-X").mkdir(exist_ok=True)
    for name in ("tpl-X_res-02_T1w.nii.gz", "tpl-X_res-02_desc-brain_mask.nii.gz"):
        (tmp_path / "tpl-X" / name).touch()
    with pytest.raises(MachineError, match=r"--fetch-templates X:res-2.*TEMPLATEFLOW_HOME"):
        template_files(Space("X", None, "2"))
    with pytest.raises(InputError, match="no template of this name"):
        template_files(Space("Y"))


def test_what_is_of_the_person_is_in_no_archive():
    assert fetch_templates([Space("T1w"), Space("anat-axes")]) == []
