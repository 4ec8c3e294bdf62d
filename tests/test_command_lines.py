"""What every job owes its user at the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = sorted((Path(__file__).parents[1] / "jobs").glob("*.py"))
HEAVY = {"torch", "ray", "timm", "pandas", "torchvision", "sklearn", "matplotlib"}
HELP_AND_MODULES = """
import atexit, runpy, sys
job, *sys.argv[1:] = sys.argv[1:]
atexit.register(lambda: print("loaded", *sys.modules, file=sys.stderr))
sys.argv[0] = job
runpy.run_path(job, run_name="__main__")
"""
every_job = pytest.mark.parametrize("job", JOBS, ids=[job.stem for job in JOBS])


def run(*line: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, line)], capture_output=True, text=True, timeout=60, check=False)


@every_job
def test_help_answers_at_once(job):
    def cpu_seconds() -> float:
        before = os.times()
        assert run(job, "--help").returncode == 0
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    # On a quiet machine the same as the seconds a user waits, and on a busy one still the job's own.
    assert min(cpu_seconds() for _ in range(3)) < 2


@every_job
def test_help_loads_nothing_heavy(job):
    told = run("-c", HELP_AND_MODULES, job, "--help")
    assert told.returncode == 0, told.stderr
    assert HEAVY & set(told.stderr.split("loaded")[-1].split()) == set()


@every_job
def test_help_names_every_flag_and_the_recipe(job):
    text = run(job, "--help").stdout
    assert "--config RECIPE.toml" in text
    assert "--debug" in text


@pytest.mark.parametrize("job", [job for job in JOBS if job.stem != "demo"], ids=lambda job: job.stem)
def test_missing_arguments_end_with_code_2(job):
    ended = run(job)
    assert ended.returncode == 2
    assert "-uri" in ended.stderr
    assert "Traceback" not in ended.stderr


@every_job
def test_an_unknown_flag_ends_with_code_2(job):
    ended = run(job, "--no-such-flag", "1")
    assert ended.returncode == 2
    assert "--no-such-flag" in ended.stderr


@every_job
def test_an_unknown_recipe_key_ends_with_code_2_and_one_line(job, tmp_path):
    (tmp_path / "recipe.toml").write_text("debgu = true\n")
    ended = run(job, "--config", tmp_path / "recipe.toml")
    assert ended.returncode == 2
    assert ended.stderr == f"error: unknown key 'debgu' in recipe {tmp_path}/recipe.toml; did you mean 'debug'?\n"


def test_a_missing_archive_ends_with_code_1_and_one_line(tmp_path):
    ended = run(JOBS[0].with_name("index_archive.py"), "--input-uri", tmp_path / "none", "--output-uri", tmp_path / "m")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[1:] == [f"error: nothing stands at {tmp_path}/none; check the URI"]
    assert list(tmp_path.rglob("*.parquet")) == []
