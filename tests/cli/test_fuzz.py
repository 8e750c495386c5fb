"""Whatever a file is like: outputs that can be used, or a refusal in a sentence."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.cli import faked, fuzz
from unimo_bids.cli import mask, register
from unimo_bids.pipeline import steps

QUICK, WHOLE, PAIRS, MASKS = 220, 40, 6, 24
NO_BRAIN = ("--brain-extraction", "none")


def judged(endings) -> Counter[int]:
    endings = list(endings)
    faults = [f"{one.name}: {one.fault}" for one in endings if one.fault]
    assert not faults, "\n".join(faults)
    return Counter(one.code for one in endings)


def test_headers_and_values_at_random(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "estimate_motion", faked.estimate)
    codes = judged(fuzz.corrected(fuzz.mutated(QUICK, 1), tmp_path, *NO_BRAIN))
    assert codes.total() == QUICK and codes[0] > 0.3 * QUICK and codes[2] > 0.1 * QUICK


@pytest.mark.slow
def test_headers_and_values_at_random_with_the_engine(tmp_path):
    codes = judged(fuzz.corrected(fuzz.mutated(WHOLE, 2), tmp_path, *NO_BRAIN))
    assert codes[0] > 0.3 * WHOLE


@pytest.mark.slow
def test_brains_are_looked_for_in_files_that_have_done_harm(tmp_path):
    changes = {
        "negative slope": fuzz.with_fields(scl_slope=-1, scl_inter=0),
        "negative intercept": fuzz.with_fields(scl_slope=1, scl_inter=-20_000),
        "one voxel differs": fuzz.stored(lambda data: np.where(data == data.max(), 8, 7), np.int16),
    }
    judged(fuzz.corrected([(k, change(fuzz.healthy())) for k, change in changes.items()], tmp_path))


@pytest.mark.slow
def test_volumes_to_register(tmp_path):
    fixed = tmp_path / "fixed.nii"
    fixed.write_bytes(fuzz.healthy(1))

    def words(source, out):
        return [str(fixed), str(source), str(out / "pair"), "--no-network", "--device", "cpu"]

    moving = fuzz.mutated(PAIRS, 3, volumes=1)
    assert set(judged(fuzz.ended(moving, register.main, words, tmp_path))) == {0, 2}


def test_images_to_mask(tmp_path):
    def words(source, out):
        out.mkdir()
        return [str(source), str(out / "mask.nii.gz"), "--brain-extraction", "epi"]

    images = fuzz.mutated(MASKS, 4, volumes=1)
    assert set(judged(fuzz.ended(images, mask.main, words, tmp_path))) == {0, 2}
