"""Options, columns and files of the pages are those of the program; links and pictures exist."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.docs.pages import PAGES, ROOT, code, first_cells, quoted, without_code
from unimo_bids.bids.names import run_names
from unimo_bids.cli.correct import build_parser as _parser
from unimo_bids.cli.mask import build_parser as _mask_parser
from unimo_bids.cli.options import build_parser
from unimo_bids.cli.register import build_parser as _register_parser
from unimo_bids.cli.slurm import build_parser as _slurm_parser
from unimo_bids.qc.confounds import confounds_table
from unimo_bids.qc.dvars import SeriesSignals
from unimo_bids.reports.summary import COLUMNS

# of sbatch, of unimo-bids-demo, of unimo-train and of the benchmarks
_OTHERS = {"--array", "--cpus-per-task", "--job-name", "--partition", "--time", "--gres"}
_OTHERS |= {"--frames", "--run", "--data", "--out", "--cache", "--tool", "--scenario", "--seed"}
_OTHERS |= {"--steps", "--stacks", "--hold-back", "--learning-rate", "--begin", "--pairs"}
_OTHERS |= {"--peers", "--objects", "--weights", "--only", "--most", "--without", "--no-masks"}
# of docker, and of apptainer
_OTHERS |= {"--build-arg", "--entrypoint", "--read-only", "--rm", "--tmpfs"}
_OTHERS |= {"--bind", "--cleanenv", "--containall", "--nv"}
_OTHERS |= {"--attached", "--axis", "--batch", "--count", "--each"}
_OTHERS |= {"--field-map", "--leave-out", "--motion", "--outside", "--procedural", "--rendered"}
_OTHERS |= {"--size", "--surroundings", "--take", "--torch-backend", "--validate"}


def options(parser, hidden):
    return {
        name
        for action in parser._actions
        if hidden or action.help != argparse.SUPPRESS
        for name in action.option_strings
    }


def test_every_option_is_explained_and_exists():
    explained = {
        match[0]
        for cell in first_cells("docs/usage.md")
        for word in quoted(cell)
        if (match := re.match(r"-{1,2}[a-z][a-z-]*", word))
    }
    assert explained - {"-vv", "-vvv"} == options(build_parser(), hidden=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_options_that_are_mentioned_exist(page):
    parsers = (build_parser(), _parser(), _mask_parser(), _register_parser(), _slurm_parser())
    known = _OTHERS.union(*(options(parser, hidden=True) for parser in parsers))
    text = page.read_text(encoding="utf-8")
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", text))
    assert {name.replace("_", "-") for name in mentioned} <= known


def test_every_column_of_the_confounds_is_explained():
    poses, frames = np.tile(np.eye(4), (200, 1, 1)), 200
    signals = SeriesSignals(*np.ones((4, frames)))
    table = confounds_table(
        poses,
        np.tile(np.eye(6), (frames, 1, 1)),
        np.zeros(3),
        status=np.array(["lost", *["ok"] * (frames - 1)]),
        similarity=np.ones(frames),
        signals=signals,
        remaining=np.zeros(frames),
        repetition_time=2.0,
        non_steady=1,
    )
    explained = {word for cell in first_cells("docs/outputs.md") for word in quoted(cell)}
    for name in table:
        plain = re.sub(r"(_derivative1)?(_power2)?$", "", name)
        assert (
            plain in explained
            or re.sub(r"\d\d$", "00", name) in explained
            or re.fullmatch(r"(trans|rot)_[xyz]_sd", name)
        ), name
    assert {"*_derivative1", "*_power2", "*_derivative1_power2"} <= explained


def test_every_file_and_group_column_is_explained():
    explained = {word for cell in first_cells("docs/outputs.md") for word in quoted(cell)}
    entities = {"sub": "01", "task": "rest"}
    for path in run_names(entities).all:
        assert path.name.replace("sub-01_task-rest", "<run>") in explained
    assert {column.name for column in COLUMNS} <= explained


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        path, _, anchor = target.partition("#")
        assert not path.startswith("http")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", without_code(there), re.MULTILINE)
            assert anchor in {slug(title) for title in titles}, target


def slug(title):
    """As GitHub and mkdocs make them."""
    return re.sub(r"[^\w\- ]", "", title.replace("`", "")).strip().lower().replace(" ", "-")


def test_shell_examples_are_shell():
    for page in PAGES:
        for block in code(str(page.relative_to(ROOT)), "bash"):
            subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in Path(tmp_path).rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?([^\" >]+)", html)
        loaded += re.findall(r"<link[^>]* href=\"?([^\" >]+)", html)
        assert loaded
        assert not [one for one in loaded if re.match(r"(https?:)?//", one)]
