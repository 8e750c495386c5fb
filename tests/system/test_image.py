"""The image is built, and does what the program does without it: `make image-test`.

It takes no more of the network than Debian's packages and those of this environment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.system import apart, study

pytestmark = [pytest.mark.system, pytest.mark.image, pytest.mark.timeout(3600)]

ROOT = Path(study.__file__).parents[2]
CACHE = ROOT / "build" / "image"
BASE, IMAGE = "localhost/unimo-bids-base", "localhost/unimo-bids:test"
PROGRAMS = ("buildah", "debootstrap", *apart.PROGRAMS)
LARGEST_GB = 1.35  # it has 1.31, of which the base has 0.18


def run(*command: object) -> str:
    # no cgroups of its own, no kernel's namespaces: so that it works in containers as well
    env = os.environ | {"BUILDAH_ISOLATION": "chroot"}
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def build_base() -> None:
    """Debian with Python, as the base that the Dockerfile names would be."""
    if BASE in run("buildah", "images", "--format", "{{.Name}}").split():
        return
    tree = CACHE / "base"
    shutil.rmtree(tree, ignore_errors=True)
    run("debootstrap", "--variant=minbase", "--include=ca-certificates,python3,python3-venv",
        "bookworm", tree)  # fmt: skip
    for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(tree / leftover)
    (CACHE / "Dockerfile").write_text("FROM scratch\nCOPY base /\n")
    run("buildah", "build", "-f", CACHE / "Dockerfile", "-t", BASE, CACHE)
    shutil.rmtree(tree)


def collect_wheels() -> Path:
    """Of the versions of this environment: others may differ in the last digit."""
    wheels, versions = CACHE / "wheels", CACHE / "versions.txt"
    pip = (sys.executable, "-m", "pip")
    frozen = run(*pip, "freeze", "--exclude-editable").splitlines()
    versions.write_text("\n".join(one for one in frozen if not one.startswith("unimo")))
    tools = ("hatch-vcs", "hatchling", "uv")
    run(*pip, "wheel", "-q", "-c", versions, "-w", wheels, ".[validate]", *tools)
    for own in wheels.glob("unimo_bids-*"):  # it is built from the sources
        own.unlink()
    return wheels


@pytest.fixture(scope="module")
def image() -> dict:
    """Configuration of the image, with its size in bytes."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.getuid() != 0:
        pytest.skip("root alone may unpack a Debian, with its devices and owners")
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("wheels of this Python do not fit the base image's 3.11")
    CACHE.mkdir(parents=True, exist_ok=True)
    build_base()
    wheels = collect_wheels()
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
    offline |= {"UV_OFFLINE": "1", "UV_FIND_LINKS": "/wheels", "BASE_IMAGE": BASE}
    offline["VERSION"] = version("unimo-bids")
    given = [word for name, value in offline.items() for word in ("--build-arg", f"{name}={value}")]
    run("buildah", "build", "--pull-never", "--layers=false", "-v", f"{wheels}:/wheels:ro", *given,
        "-t", IMAGE, ".")  # fmt: skip
    config = json.loads(run("buildah", "inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
    (about,) = json.loads(run("buildah", "images", "--json", IMAGE))
    print(f"image of {about['size']}")
    return config | {"size": about["size"]}


@pytest.fixture(scope="module")
def root(image):
    container = run("buildah", "from", IMAGE).strip()
    yield Path(run("buildah", "mount", container).strip())
    run("buildah", "rm", container)


def test_it_is_small_and_says_what_it_is(image):
    number, unit = image["size"].split()
    assert (float(number) if unit == "GB" else 0) <= LARGEST_GB
    assert image["Entrypoint"] == ["unimo-bids"]
    assert image["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_results_are_those_without_it(done, image, root, tmp_path):
    out, work = apart.give(tmp_path / "out"), apart.give(tmp_path / "work")
    env = dict(one.split("=", 1) for one in image["Env"])
    prefix = apart.inside(root, {done.raw: "/data"}, {out: "/out", work: "/work"}, env)
    finished = study.call(
        "/data", "/out", "participant", "--participant-label", "02", "--work-dir", "/work",
        prefix=prefix, program=image["Entrypoint"],
    )  # fmt: skip
    assert finished.code == 0, finished.err
    assert study.digests(out, "sub-02/") == study.digests(done.out, "sub-02/")
    # validated, too: there was nothing to warn of
    assert "valid" not in finished.err
