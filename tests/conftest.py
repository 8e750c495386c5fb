"""What tests of several parts start from."""

import os
import shutil

import pytest
import torch

from tests import phantom


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def at_rest() -> torch.Tensor:
    return phantom.volume(torch.eye(4).double())


@pytest.fixture(scope="session")
def mask() -> torch.Tensor:
    """The head and its rim: the edge tells most about the pose."""
    return phantom.head_mask(grown=1.1)


@pytest.fixture
def ordinary():
    """How to start a process that permissions bind, even where the tests run as root."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root here, and no setpriv to give up root's rights")
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
