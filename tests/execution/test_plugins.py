import importlib
import os
import subprocess
from pathlib import Path

import pytest
from nipype import config

from tests.execution.workflows import count_threads, node
from unimo_bids.errors import InputError
from unimo_bids.execution.plugins import PluginChoice, load_plugin, make_plugin


def test_file_as_fmriprep_takes_it(tmp_path):
    path = tmp_path / "plugin.yml"
    path.write_text("plugin: SLURM\nplugin_args:\n  sbatch_args: --partition=long -t 60\n")
    choice = load_plugin(path)
    assert choice == PluginChoice("SLURM", {"sbatch_args": "--partition=long -t 60"})
    assert not choice.local


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- SLURM", "it names no plugin"),
        ("plugin: [", "it is not YAML"),
        ("plugin: !!python/object/apply:os.getcwd []", "it is not YAML"),
        ("plugin: Magic", "unknown plugin Magic; use one of MultiProc, Linear, SLURM"),
        ("plugin: SLURMGraph", "does not wait for them; use SLURM instead"),
        ("plugin: SLURM\nplugin_arg: {}", "unknown entries: plugin_arg"),
        ("plugin: SLURM\nplugin_args: --mem=3", "plugin_args is not a mapping"),
    ],
)
def test_refusals_name_the_file(tmp_path, text, said):
    path = tmp_path / "plugin.yml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as refusal:
        load_plugin(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "args", [{"n_procs": "two"}, {"n_procs": 0}, {"memory_gb": "x"}, {"mp_context": "thread"}]
)
def test_arguments_that_do_not_suit_are_refused(args):
    with pytest.raises(InputError, match="--use-plugin: its plugin_args do not suit MultiProc"):
        make_plugin(PluginChoice("MultiProc", args), {"n_procs": 1, "memory_gb": 2.0})


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=pytest.mark.slow) for one in ("LSF", "OAR", "Condor")] + ["PBS"],
)
def test_jobs_of_other_clusters_set_their_threads(name, tmp_path, monkeypatch, notes):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    theirs = getattr(importlib.import_module("nipype.pipeline.plugins"), f"{name}Plugin")
    seen = []
    monkeypatch.setattr(
        theirs, "_submit_batchtask", lambda _self, script, _node: seen.append(Path(script))
    )
    step = node(count_threads, "count", notes)
    step.base_dir, step.config = str(tmp_path), config._sections
    make_plugin(PluginChoice(name), {})._submit_job(step)
    (script,) = seen
    # as other shells than bash take it
    subprocess.run(["sh", str(script)], check=True, env={**os.environ, "OMP_NUM_THREADS": "7"})
    assert (notes / "count").read_text() == "1 1 1"
    assert "OPENBLAS_NUM_THREADS=1" in script.read_text()
