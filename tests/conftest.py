"""What tests of several parts start from."""

import os
import shutil

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tests share the processors as files; a fork has no other thread either."""
    torch.set_num_threads(1)


@pytest.fixture
def ordinary():
    """How to start a process that permissions bind, even where the tests run as root."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root here, and no setpriv to give up root's rights")
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
