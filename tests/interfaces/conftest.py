from __future__ import annotations

from pathlib import Path

import pytest

from tests.system import study


@pytest.fixture(scope="module")
def bold(tmp_path_factory) -> Path:
    return study.image(tmp_path_factory.mktemp("raw") / "bold.nii.gz", study.frames(1))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Where a step works, and leaves its files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
