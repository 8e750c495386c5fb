from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system import study


@dataclass(frozen=True)
class Done:
    """The study, corrected once with the defaults; not to be changed."""

    raw: Path
    masks: Path
    out: Path
    work: Path
    finished: study.Finished

    @property
    def words(self) -> tuple[object, ...]:
        """What every call on these data says behind its output folder and level."""
        return ("--derivatives", f"masks={self.masks}", "--work-dir", self.work)

    @property
    def log(self) -> Path:
        """Of the first call; there may have been others since."""
        return min((self.out / "sub-01" / "log").iterdir())


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    return study.write_study(tmp_path_factory.mktemp("raw") / "study")


@pytest.fixture(scope="session")
def done(tmp_path_factory, raw) -> Done:
    folder = tmp_path_factory.mktemp("done")
    masks = study.write_masks(folder / "masks")
    words = (raw, folder / "out", "participant", "--derivatives", f"masks={masks}")
    finished = study.call(
        *words, "--work-dir", folder / "work", "--write-graph", "--resource-monitor"
    )
    assert finished.code == 0, finished.err
    return Done(raw, masks, folder / "out", folder / "work", finished)


@pytest.fixture(scope="session")
def one(done) -> tuple[object, ...]:
    """Words for the quickest run there is."""
    return ("--derivatives", f"masks={done.masks}", "--participant-label", "02")


@pytest.fixture(scope="session")
def undisturbed(done) -> dict[str, str]:
    return study.digests(done.out, "sub-02/")
