import pytest
import torch
from hypothesis import settings

# the same cases in every run: what lands has passed what the next run will ask
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)
