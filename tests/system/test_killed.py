"""Killed at any moment, and started again."""

from __future__ import annotations

import random
import shutil
import signal
import time

import psutil
import pytest

from tests.system import study

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]
KILLS = 6


def test_killed_at_any_moment_and_started_again(done, one, undisturbed, tmp_path):
    began = time.monotonic()
    plain = study.call(done.raw, tmp_path / "plain", "participant", *one,
                       "--work-dir", tmp_path / "plain-work")  # fmt: skip
    assert plain.code == 0, plain.err
    assert study.digests(tmp_path / "plain", "sub-02/") == undisturbed  # beside others or alone
    lasts = time.monotonic() - began
    moments, killed = random.Random(3), 0
    for kill in range(KILLS):
        folder = tmp_path / str(kill)
        words = (done.raw, folder / "out", "participant", *one, "--work-dir", folder / "work")
        process = study.start(*words)
        moment = moments.uniform(0, lasts)
        time.sleep(moment)
        descendants = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        process.stderr.close()
        print(f"killed after {moment:.1f} of {lasts:.1f} s")
        finished = study.call(*words)
        assert finished.code == 0, finished.err
        assert study.digests(folder / "out", "sub-02/") == undisturbed
        assert study.leftovers(folder / "out") == []
        assert not [each for each in descendants if each.is_running()]
        shutil.rmtree(folder)
    assert killed >= KILLS - 2  # some that were quicker than the first may have ended
