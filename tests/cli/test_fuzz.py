"""Whatever a file is like: outputs that can be used, or a refusal in a sentence."""

from __future__ import annotations

from collections import Counter

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
def test_files_that_have_done_harm(tmp_path):
    endings = {one.name: one for one in fuzz.corrected(fuzz.known(), tmp_path, *NO_BRAIN)}
    judged(endings.values())
    refused = {name for name, one in endings.items() if one.code}
    assert refused == {
        *("tiny slope", "huge slope", "huge intercept", "far origin in both"),
        *("constant", "nearly constant", "all of it NaN"),
    }
    quiet = {name for name, one in endings.items() if not one.err}
    assert quiet == {
        *("nothing wrong", "negative slope", "negative slope and intercept"),
        *("negative intercept", "negative", "distant origin", "one voxel of 1e14"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["negative slope", "negative intercept", "one voxel differs"])
def test_brains_are_looked_for_in_files_that_have_done_harm(tmp_path, name):
    judged(fuzz.corrected([(name, dict(fuzz.known())[name])], tmp_path))


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
