"""The recipe for conda asks for what the package asks for, and all files speak of one version."""

import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
# conda-forge's names
NAMES = {"python-isal": "isal", "matplotlib-base": "matplotlib", "pytorch": "torch"}


def test_it_has_the_requirements_and_the_programs_of_the_package():
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python, *wanted = (line.split() for line in recipe["requirements"]["run"])
    assert python == ["python", project["requires-python"]]
    found = {NAMES.get(name, name) + least for name, least in wanted}
    assert found == {re.sub(r"\s", "", one) for one in project["dependencies"]}
    programs = dict(one.split(" = ") for one in recipe["build"]["python"]["entry_points"])
    assert programs == project["scripts"]


def test_files_that_cannot_ask_git_name_the_release_to_come():
    citation, conda = (
        yaml.safe_load((ROOT / name).read_text()) for name in ("CITATION.cff", "conda/recipe.yaml")
    )
    release = citation["version"]
    assert conda["context"]["version"] == release
    assert json.loads((ROOT / "boutiques.json").read_text())["tool-version"] == release
    assert f"## {release} (" in (ROOT / "CHANGES.md").read_text()
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    assert hatch["version"]["fallback-version"] == f"{release}.dev0"
    for name, form in (("Dockerfile", "ARG VERSION="), ("singularity/unimo-bids.def", "version=")):
        assert f"{form}{release}.dev0\n" in (ROOT / name).read_text()
