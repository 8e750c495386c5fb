import pytest
import torch

from tests.motion import phantom


@pytest.fixture(scope="session")
def at_rest() -> torch.Tensor:
    return phantom.volume(torch.eye(4).double())


@pytest.fixture(scope="session")
def mask() -> torch.Tensor:
    """The head and its rim: the edge tells most about the pose."""
    return phantom.head_mask(grown=1.1)
