"""From a run to a template, at any orientation."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from tests import phantom
from tests.spaces import heads
from unimo_bids.files.composite import write_composite
from unimo_bids.pipeline.spaces import carry
from unimo_bids.spaces.anatomy import Anatomy
from unimo_bids.spaces.names import Space
from unimo_bids.spaces.standard import find_space, upright, upright_grid
from unimo_bids.spaces.templates import Template, anatomy_template
from unimo_bids.spatial import rigid

TEMPLATE = heads.seen(torch.eye(4).double())


@pytest.mark.slow
def test_a_head_upside_down_in_another_contrast_is_found_and_set_upright():
    truth = phantom.pose((170, 10, -60), (6.0, -4.0, 9.0)) @ heads.STRETCH
    run = heads.seen(truth, (1.3, -0.8, 0.4))
    found = find_space(TEMPLATE, run)
    points = torch.cat([TEMPLATE.center + 30 * torch.eye(3), TEMPLATE.center[None]]).double()
    apart = rigid.displacement(torch.from_numpy(found.matrix), truth, points)
    assert apart.max() < 1.5  # half a voxel
    assert found.doubts == () and found.overlap > 0.95
    # no stretches are left, and the whole brain is in view along the template's axes
    turn = upright(found, run.center)
    np.testing.assert_allclose(turn.stretches, 1, atol=1e-9)
    onto = upright_grid(turn, run)
    inside = rigid.transform(
        run.grid.affine, torch.from_numpy(np.argwhere(run.mask > 0.5)).double()
    )
    index = rigid.transform(onto.to_index @ torch.linalg.inv(torch.from_numpy(turn.matrix)), inside)
    assert (index > 0).all() and (index < torch.tensor(onto.shape) - 1).all()


@pytest.mark.slow
def test_an_anatomical_image_leads_to_where_another_program_has_brought_it(tmp_path):
    """A T1w of who is scanned, and the stretch and turn from a template to it, in a file."""
    to_anatomy = phantom.pose((5, -10, 15), (3.0, 8.0, -6.0)) @ heads.STRETCH
    to_run = phantom.pose((25, 10, -30), (6.0, -4.0, 9.0))
    anatomy, run = heads.seen(to_anatomy), heads.seen(to_run @ to_anatomy, (1.3, -0.8, 0.4))
    files = {name: tmp_path / f"sub-1_{name}.nii.gz" for name in ("T1w", "mask")}
    for path, values in zip(files.values(), (anatomy.image, anatomy.mask), strict=True):
        nib.Nifti1Image(values, anatomy.grid.affine.numpy()).to_filename(path)
    write_composite(tmp_path / "xfm.h5", to_anatomy.numpy(), None)
    known = Anatomy("T1w", *files.values(), {"P": tmp_path / "xfm.h5"})
    templates = [Template(Space("P"), TEMPLATE, tmp_path / "P.nii.gz", 2), anatomy_template(known)]
    motion = SimpleNamespace(template=run.image)
    space, own = carry(templates, ["P", "T1w"], motion, run.mask, run.grid, "cpu", known)
    points = torch.cat([TEMPLATE.center + 30 * torch.eye(3), TEMPLATE.center[None]]).double()
    apart = space.pose.warp(points) - rigid.transform(to_run @ to_anatomy, points)
    assert torch.linalg.norm(apart, dim=-1).max() < 1.0  # a third of a voxel
    assert space.through == "T1w" and not space.pose.doubts and space.pose.overlap > 0.95
    np.testing.assert_allclose(own.pose.stretches, 1, atol=1e-6)
    np.testing.assert_array_equal(own.pose.matrix, space.pose.matrix)


@pytest.mark.slow
def test_what_is_no_such_head_is_doubted():
    ball = torch.linalg.norm(heads.grid().points(), dim=-1).reshape(heads.SHAPE) < 35
    noise = np.random.default_rng(0).normal(1, 0.2, heads.SHAPE).astype(np.float32)
    run = type(TEMPLATE)(noise * ball.numpy(), ball.float().numpy(), heads.grid())
    assert find_space(TEMPLATE, run).doubts
