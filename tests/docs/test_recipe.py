"""The recipe for conda asks for what the package asks for."""

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
    assert recipe["package"]["version"] == project["version"]
