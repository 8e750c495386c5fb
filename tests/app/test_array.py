from __future__ import annotations

import datetime
import os
import re
import subprocess
from pathlib import Path

import pytest

from unimo_bids.app import array
from unimo_bids.app.plan import Estimate
from unimo_bids.app.scripts import Job, Program, array_script, submit_script
from unimo_bids.bids.query import BoldRun
from unimo_bids.errors import InputError, MachineError
from unimo_bids.settings import Settings

LABELS = [f"{number:02}" for number in range(1, 21)]
JOB = Job(cpus=2, mem_gb=5, minutes=90)


def command(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def bash(script: str, path: Path, *words: str, **environment: str) -> list[str]:
    """Run a script with the commands of a folder in front; the lines it prints."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "PBS_", "SGE_"))}
    env = clean | {"PATH": f"{path}:{os.environ['PATH']}"} | environment
    done = subprocess.run(
        ["bash", "-s", "--", *words], input=script, env=env, capture_output=True, text=True,
        check=False, cwd=path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(
        bids_dir=tmp_path / "raw data",
        out_dir=tmp_path / "raw data" / "derivatives" / "out",
        work_dir=tmp_path / "work",
        derivatives={"masks": tmp_path / "masks"},
    )


@pytest.mark.parametrize("variable", ["SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "SGE_TASK_ID"])
def test_every_number_is_a_participant(tmp_path, settings, variable):
    program = Program(command(tmp_path, "program", 'printf "%s\\n" "$@"'))
    script = array_script(JOB, program, settings, LABELS, tmp_path / "my settings.toml", 4)
    for number, first in ((1, 0), (20, 0), (3, 14)):
        words = bash(script, tmp_path, str(first), **{variable: str(number)})
        assert words[:3] == [str(settings.bids_dir), str(settings.out_dir), "participant"]
        assert words[words.index("--participant-label") + 1] == LABELS[first + number - 1]
        assert words[words.index("--config-file") + 1] == str(tmp_path / "my settings.toml")
        assert words[words.index("--mem") + 1] == "4G"


def test_arrays_are_as_long_as_allowed_and_the_group_waits_for_all(tmp_path):
    command(tmp_path, "sbatch", 'echo "$@" >> asked; echo "$((100 + $(wc -l < asked)));cluster"')
    (said,) = bash(submit_script(len(LABELS), 7, at_once=3), tmp_path)
    assert said == "participants 101:102:103, then group 104;cluster"
    *arrays, group = (tmp_path / "asked").read_text().splitlines()
    rows = []
    for asked in arrays:
        last, first = re.search(r"--array=1-(\d+)%3 participant.sh (\d+)", asked).groups()
        assert int(last) <= 7
        rows += range(int(first), int(first) + int(last))
    assert rows == list(range(20))
    assert "--dependency=afterany:101:102:103 " in group


def test_in_an_image_all_places_are_seen_and_only_outputs_written(tmp_path, settings):
    command(tmp_path, "apptainer", 'printf "%s\\n" "$@" "GPU $APPTAINERENV_CUDA_VISIBLE_DEVICES"')
    program = Program(Path("/unused"), tmp_path / "unimo bids.sif", "echo ready")
    gpu = Job(cpus=1, mem_gb=5, minutes=90, gpus=1)
    script = array_script(gpu, program, settings, LABELS, settings.work_dir / "s.toml", 4)
    given = {"SLURM_ARRAY_TASK_ID": "1", "CUDA_VISIBLE_DEVICES": "0,3"}
    ready, *words, last = bash(script, tmp_path, **given)
    assert ready == "ready" and last == "GPU 0,3"
    image = words.index(str(tmp_path / "unimo bids.sif"))
    assert {"run", "--cleanenv", "--nv"} <= set(words[:image])
    assert words[image + 1 : image + 4] == [
        str(settings.bids_dir),
        str(settings.out_dir),
        "participant",
    ]
    binds = [words[k + 1] for k in range(image) if words[k] == "--bind"]
    assert binds == [
        f"{settings.bids_dir}:{settings.bids_dir}:ro",
        f"{tmp_path / 'masks'}:{tmp_path / 'masks'}:ro",
        f"{settings.out_dir}:{settings.out_dir}",  # it lies in the dataset, which is not written
        f"{settings.work_dir}:{settings.work_dir}",
    ]
    assert "#SBATCH --gres=gpu:1" in script


def test_two_calls_in_one_second_do_not_share_scripts(tmp_path, settings, monkeypatch):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 11, 30, 12, tzinfo=tz)

    monkeypatch.setattr(datetime, "datetime", Clock)
    written = array._write(settings, Program(tmp_path / "program"), JOB, LABELS, None)
    before = (written / "participant.sh").read_text()
    with pytest.raises(MachineError):
        array._write(settings, Program(tmp_path / "program"), JOB, LABELS[:1], None)
    assert (written / "participant.sh").read_text() == before


def test_a_place_that_cannot_be_bound_is_refused(tmp_path):
    settings = Settings(bids_dir=tmp_path / "a:b", out_dir=tmp_path / "out")
    with pytest.raises(InputError, match="colon"):
        Program(Path("/unused"), tmp_path / "image.sif").call(settings)


def runs(*paths: str) -> tuple[BoldRun, ...]:
    return tuple(
        BoldRun(
            paths=(Path(path),), entities={"sub": "01", "task": "rest", "run": str(k)},
            metadata={}, repetition_time=2.0, volume_timing=None,
        )
        for k, path in enumerate(paths)
    )  # fmt: skip


def test_the_largest_participant_says_what_every_job_asks_for(tmp_path, settings, monkeypatch):
    sizes = {"small": Estimate(0.25, 60.0), "large": Estimate(2.0, 900.0)}
    monkeypatch.setattr(array, "estimate", lambda run: sizes.get(str(run.paths[0])))
    everybody = [runs("small", "small", "small"), runs("large", "small"), runs("small")]
    job = array.job_for(everybody, settings)
    # three at a time: 0.5 GB and twice the series each, and the program's own gigabyte
    assert (job.cpus, job.mem_gb) == (3, 7)
    assert job.minutes == 60  # four times the longest run
    assert job.gpus == 0
    # a run of unknown size is no reason to ask for nothing
    assert array.job_for([runs("not fetched")], settings).mem_gb >= 4
