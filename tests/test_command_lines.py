"""Behaviour that every job has at the command line: help, exit codes and one-line errors."""

import os
import runpy
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
HELP_SECONDS = 2
every_job = pytest.mark.parametrize("job", JOBS, ids=[job.stem for job in JOBS])


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a job within this process; its exit code and what it wrote to standard error."""

    def call(job, *flags):
        monkeypatch.setattr(sys, "argv", [str(job), *map(str, flags)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(job), run_name="__main__")
        return ended.value.code, capsys.readouterr().err

    return call


def help_in_a_process_of_its_own(job):
    """The help, the modules that were loaded for it, and the seconds of CPU that it took."""
    before = os.times()
    line = [sys.executable, "-c", HELP_AND_MODULES, str(job), "--help"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return ended.stdout, set(ended.stderr.split("loaded")[-1].split()), seconds


@pytest.mark.slow
@every_job
def test_help_answers_at_once_and_names_what_every_job_has(job):
    text, modules, seconds = help_in_a_process_of_its_own(job)
    assert modules & HEAVY == set()
    assert "--config RECIPE.toml" in text
    assert "--debug" in text
    # On a quiet machine the seconds of CPU are those that a user waits, and on a busy one still the job's own.
    assert min(seconds, help_in_a_process_of_its_own(job)[2] if seconds >= HELP_SECONDS else seconds) < HELP_SECONDS


@pytest.mark.parametrize("job", [job for job in JOBS if job.stem not in ("demo", "submit")], ids=lambda job: job.stem)
def test_missing_arguments_end_with_code_2(run, job):
    code, message = run(job)
    assert code == 2
    assert "-uri" in message
    assert "Traceback" not in message


@every_job
def test_an_unknown_flag_ends_with_code_2(run, job):
    code, message = run(job, "--no-such-flag", "1", *(["index_archive"] if job.stem == "submit" else []))
    assert code == 2
    assert "--no-such-flag" in message


@every_job
def test_an_unknown_recipe_key_ends_with_code_2_and_one_line(run, job, tmp_path):
    (tmp_path / "recipe.toml").write_text("debgu = true\n")
    code, message = run(job, "--config", tmp_path / "recipe.toml")
    assert code == 2
    assert message == f"error: unknown key 'debgu' in recipe {tmp_path}/recipe.toml; did you mean 'debug'?\n"


def test_a_missing_archive_ends_with_code_1_and_one_line(run, tmp_path):
    job = JOBS[0].with_name("index_archive.py")
    code, message = run(job, "--input-uri", tmp_path / "none", "--output-uri", tmp_path / "m")
    assert code == 1
    assert message.splitlines()[-1].startswith("error: ")
    assert f"{tmp_path}/none" in message.splitlines()[-1]
    assert "Traceback" not in message
    assert list(tmp_path.rglob("*.parquet")) == []
