"""External programs: found on the path, run, watched, and their files read; with stand-ins."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmarks.series import ROOT, BenchmarkSeries, save
from benchmarks.tools import TOOLS, Problem
from benchmarks.tools.base import Watch, thread_environment

FRAMES = 3

# Each leaves what the real program would for a head that goes 3 mm to the left in frame 2
STAND_INS = {
    "3dvolreg": """\
while [ $# -gt 1 ]; do [ "$1" = -1Dmatrix_save ] && saved=$2; shift; done
test -f "$1" || exit 3
rest="1 0 0 0 0 1 0 0 0 0 1 0"
printf '# rows\\n%s\\n%s\\n1 0 0 3 0 1 0 0 0 0 1 0\\n' "$rest" "$rest" > "$saved"
""",
    "mcflirt": """\
while [ $# -gt 1 ]; do [ "$1" = -out ] && out=$2; shift; done
mkdir "$out.mat"
rest="1 0 0 0\\n0 1 0 0\\n0 0 1 0\\n0 0 0 1\\n"
printf "$rest" > "$out.mat/MAT_0000"; printf "$rest" > "$out.mat/MAT_0001"
printf "1 0 0 -3\\n0 1 0 0\\n0 0 1 0\\n0 0 0 1\\n" > "$out.mat/MAT_0002"
""",
    "spm12": """\
test "$1" = script || exit 3
grep -q spm_realign "$2" || exit 4
rest="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"
{ echo "$rest $rest"; echo "$rest $rest"; echo "$rest 1 0 0 3 0 1 0 0 0 0 1 0 0 0 0 1"; } \\
  > "$(dirname "$2")/poses.txt"
""",
}


@pytest.fixture
def programs(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in STAND_INS.items():
        path = folder / name
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def a_problem(folder, **more):
    data = np.random.default_rng(0).random((6, 7, 8, FRAMES), dtype=np.float32)
    values = {"mask": None, "frame_masks": None} | more
    return Problem(data, np.diag([3.0, 3, 3, 1]), 0, 2.0, folder=folder, **values)


@pytest.mark.parametrize("name", ["3dvolreg", "3dvolreg-twopass", "mcflirt", "spm"])
@pytest.mark.parametrize("masked", [False, True])
def test_program_is_run_and_its_poses_read(programs, tmp_path, name, masked):
    tool = TOOLS[name]
    assert tool.version() is not None
    folder = tmp_path / "files"
    folder.mkdir()
    mask = np.ones((6, 7, 8), dtype=np.float32) if masked else None
    poses = tool.prepare(a_problem(folder, mask=mask))().poses
    # FSL's and SPM's stand-ins take the volume back, AFNI's takes the reference there
    np.testing.assert_allclose(poses[:2], np.tile(np.eye(4), (2, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(poses[2][:3, 3], [-3, 0, 0], atol=1e-12)
    image = nib.load(folder / "series.nii")
    assert image.shape == (6, 7, 8, FRAMES)
    assert image.header.get_zooms()[3] == 2.0
    assert (folder / "mask.nii").exists() == (masked and name != "mcflirt")


def test_frames_are_masked_for_peers_that_are_told_all(tmp_path):
    masks = np.zeros((6, 7, 8, FRAMES), dtype=np.uint8)
    masks[2:4] = 1
    problem = a_problem(tmp_path, mask=np.ones((6, 7, 8), dtype=np.float32), frame_masks=masks)
    assert (problem.frame(1)[:2] == 0).all()
    written = nib.load(problem.write_series()).get_fdata()
    assert (written[:2] == 0).all()
    assert (written[2:4] > 0).any()


def test_failure_tells_the_program_and_its_last_words(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)sh ended with 5.*no such volume"):
        Watch().run(["sh", "-c", "echo no such volume; exit 5"], tmp_path)


def test_memory_is_the_programs_own_not_ours(tmp_path):
    ballast = np.ones(60_000_000)  # 460 MiB that a forked child would inherit in ru_maxrss
    watch = Watch()
    watch.run(["sleep", "0.1"], tmp_path)
    assert 0 < watch.peak_mib < 100
    assert len(ballast)


def test_worker_leaves_poses_and_measures(programs, tmp_path):
    data = np.random.default_rng(0).random((6, 7, 8, FRAMES), dtype=np.float32)
    series = BenchmarkSeries(
        data=data,
        affine=np.diag([-3.0, 3.0, 3.0, 1.0]),
        poses=np.tile(np.eye(4), (FRAMES, 1, 1)),
        brain=np.ones((6, 7, 8), dtype=np.float32),
        brain_points=np.zeros((1, 3)),
        masks=np.ones(data.shape, dtype=np.uint8),
        reference=0,
        repetition_time=2.0,
    )
    save(series, tmp_path / "series.npz")
    job = {
        "tool": "3dvolreg",
        "series": str(tmp_path / "series.npz"),
        "mask": "oracle",
        "threads": 2,
        "device": "cpu",
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", str(tmp_path / "job.json")],
        cwd=ROOT,
        env=thread_environment(2),
        check=True,
    )
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert measured["seconds"] > 0
    assert measured["commands"][0].startswith("3dvolreg -Fourier")
    assert Path(tmp_path / "files" / "mask.nii").exists()
    # the file's first axis runs to the left, the plain grid's to the right
    np.testing.assert_allclose(np.load(tmp_path / "poses.npy")[2][:3, 3], [3, 0, 0])
