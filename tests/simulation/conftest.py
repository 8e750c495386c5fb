import pytest

from unimo_bids.simulation import Anatomy, fetal_head


@pytest.fixture(scope="session")
def head() -> Anatomy:
    """A small fetal head: cheap to make and to render."""
    return fetal_head(weeks=24, seed=3)
