"""What makes images, without building one: `make image-test` does that."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from unimo_bids.cli.options import build_parser

ROOT = Path(__file__).parents[1]


def test_the_dockerfile_is_clean():
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [program, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def steps(path: str) -> list[list[str]]:
    """Commands of a recipe for images, in words, each once."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / path).read_text(), flags=re.M).replace("\\\n", " ")
    text = text.replace("$site", "/opt/unimo-bids/lib/python3*/site-packages").replace('"', "")
    found = re.findall(
        r"(?:^|&&|RUN)\s*((?:/opt|find|rm -rf /opt/unimo|mkdir).*?)(?=&&|$)", text, re.M
    )
    return [one.split() for one in found]


def test_both_recipes_take_the_same_away_and_run_the_same():
    docker, singularity = steps("Dockerfile"), steps("singularity/unimo-bids.def")
    alike = [one for one in docker if one[0] in ("find", "rm", "mkdir") or "demo" in one[0]]
    assert len(alike) == 5
    assert all(one in singularity for one in alike)
    for path in ("Dockerfile", "singularity/unimo-bids.def"):
        text = (ROOT / path).read_text()
        for variable in ("LANG=C.UTF-8", "PYTHONNOUSERSITE=1", "PYTHONDONTWRITEBYTECODE=1"):
            assert variable in text
        assert "python:3.11-slim-bookworm" in text and '"uv>=0.8,<1"' in text


def test_the_descriptor_speaks_of_this_program():
    descriptor = json.loads((ROOT / "boutiques.json").read_text())
    actions = {name: one for one in build_parser()._actions for name in one.option_strings}
    keys = re.findall(r"\[[A-Z_]+\]", descriptor["command-line"])
    assert keys == [one["value-key"] for one in descriptor["inputs"]]
    for one in descriptor["inputs"][3:]:
        action = actions[one["command-line-flag"]]
        assert (one["type"] == "Flag") == isinstance(action, argparse._StoreTrueAction)
        assert bool(one.get("list")) == (action.nargs == "+")
        if action.choices:
            assert set(one["value-choices"]) == set(action.choices)
