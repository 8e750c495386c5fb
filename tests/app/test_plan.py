from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from unimo_bids.app import plan
from unimo_bids.bids.query import BoldRun, Selection
from unimo_bids.execution.resources import Resources
from unimo_bids.settings import Settings

TWO_AT_A_TIME = Resources(nprocs=2, mem_gb=8, n_gpu=0, omp_nthreads=1)


def planned(tmp_path, monkeypatch, *gb_and_echoes):
    """Lines on runs of such sizes."""
    sizes = {Path(f"{k}_bold.nii"): gb for k, (gb, _) in enumerate(gb_and_echoes)}
    monkeypatch.setattr(plan, "series_gb", sizes.get)
    runs = tuple(
        BoldRun(
            paths=(path,) * echoes,
            entities={"sub": "01", "task": "rest", "run": str(k)},
            metadata={},
            repetition_time=2.0,
            volume_timing=None,
        )
        for k, (path, (_, echoes)) in enumerate(zip(sizes, gb_and_echoes, strict=True))
    )
    settings = Settings(bids_dir=tmp_path, out_dir=tmp_path / "out")
    return plan.plan(Selection({"01": runs}), settings, TWO_AT_A_TIME).splitlines()


def test_sizes_and_times_have_units(tmp_path, monkeypatch):
    lines = planned(tmp_path, monkeypatch, (0.0001, 1), (0.18, 3), (3.2, 1), (0.0, 1))
    assert [line.split()[1] for line in lines[1:5]] == ["1", "3", "1", "1"]
    assert "under 1 MB  under a minute" in lines[1]
    assert "184 MB  about 1 minute" in lines[2] and not lines[2].endswith("s")
    assert "3.2 GB  about 12 minutes" in lines[3]
    assert lines[4].split()[-2:] == ["?", "?"]  # no header
    # the others are done while the longest is at work
    told = "4 runs, 2 side by side: about 12 minutes, 1 of unknown size not counted; results in"
    assert lines[5].startswith(told)


def test_what_is_not_known_is_not_counted(tmp_path, monkeypatch):
    assert planned(tmp_path, monkeypatch, (0.0, 1))[-1].startswith("1 run: 1 of unknown size; res")
    lines = planned(tmp_path, monkeypatch, *[(0.0, 1)] * 100, (3.2, 1))
    assert "about 12 minutes, 100 of unknown size not counted" in lines[-1]


def test_a_plan_needs_no_torch():
    """It takes seconds and 200 MB, in each of thousands of jobs that only wait."""
    program = "import sys, unimo_bids.app.array; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
