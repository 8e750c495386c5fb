import os

import pytest

# before the first worker: they inherit it
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["NO_ET"] = os.environ["NIPYPE_NO_ET"] = "1"


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder
