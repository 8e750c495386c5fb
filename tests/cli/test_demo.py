from __future__ import annotations

import nibabel as nib
import numpy as np

from unimo_bids.cli import demo
from unimo_bids.simulation import fetal_head, simulate


def test_the_table_measures_against_the_truth(tmp_path, fake, monkeypatch, capsys):
    # the quick engine says that frame t moved by t mm; in truth it moved by t mm, and 1 mm more
    moves = np.tile(np.eye(4), (3, 1, 1))
    moves[:, 0, 3] = (0, 2, 3)
    head = fetal_head(weeks=22, voxel_mm=3)
    truth = simulate(head, moves, shape=(20, 20, 16), voxel_sizes=5)
    monkeypatch.setattr(demo, "_simulated", lambda frames, seed: truth)
    assert demo.main([str(tmp_path / "out"), "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-4:] == ["3", "2.000", "2.900", "3.000"]
    assert lines[2].split()[-4:] == ["3", "1.000", "1.000", "1.000"]
    assert lines[-1] == str(tmp_path / "out" / "demo_bold_summary.json")
    written = nib.load(tmp_path / "out" / "demo_bold.nii.gz")
    np.testing.assert_allclose(written.dataobj, truth.data, atol=truth.data.max() / 2**15)
    np.testing.assert_array_equal(np.load(tmp_path / "out/demo_bold_true-poses.npy"), truth.poses)
