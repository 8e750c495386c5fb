from __future__ import annotations

import pytest

from tests.bids.layouts import dataset, settings
from unimo_bids.app.participants import run_participants
from unimo_bids.errors import MachineError


def test_a_template_that_is_missing_is_missed_before_anything_is_corrected(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "templates"))
    monkeypatch.setenv("TEMPLATEFLOW_AUTOUPDATE", "off")
    api = pytest.importorskip("templateflow.api")

    def unreachable(*_args, **_options):
        raise ConnectionError("no route")

    monkeypatch.setattr(api, "get", unreachable)
    folder = tmp_path / "templates" / "tpl-X"
    folder.mkdir(parents=True)
    for name in ("tpl-X_res-02_T1w.nii.gz", "tpl-X_res-02_desc-brain_mask.nii.gz"):
        (folder / name).touch()  # listed, and not fetched
    raw = dataset(tmp_path / "raw", "sub-01_task-rest_bold.nii.gz")
    asked = settings(raw, output_spaces=("X:res-2",), skip_bids_validation=True)
    with pytest.raises(MachineError, match=r"--fetch-templates X:res-2.*TEMPLATEFLOW_HOME"):
        run_participants(asked)
    assert not asked.out_dir.exists()
