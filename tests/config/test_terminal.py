import os
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from cxr_ray.config.terminal import LONGEST_VALUE, start_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    input_uri: str
    model_uri: tuple[str, ...]
    segmenter_uri: str | None = None
    names: tuple[str, ...] = ()
    prompts: dict[str, list[str]] = field(default_factory=dict)
    rate: float = 0.1
    debug: bool = False


def test_the_first_line_names_uris_and_what_differs_from_the_defaults():
    config = Config(input_uri="s3://bucket/in", model_uri=("a", "b"), rate=0.5, names=("x", "y"))
    assert start_line("classify_archive", config) == (
        "classify_archive: input s3://bucket/in, model a b; names x y, rate 0.5"
    )
    assert start_line("job", Config(input_uri="in", model_uri=())) == "job: input in, model "


@dataclass(frozen=True, kw_only=True, slots=True)
class Optional:
    epochs: int = 10


def test_a_job_whose_options_all_have_defaults_has_a_first_line_without_gaps():
    assert start_line("demo", Optional(epochs=3)) == "demo: epochs 3"
    assert start_line("demo", Optional()) == "demo: defaults"


def test_the_first_line_is_one_line_without_secrets_and_of_bounded_length():
    config = Config(input_uri="s3://key:secret@b/a\nb", model_uri=("m",), prompts={"COVID": ["word " * 100]})
    line = start_line("job", config)
    assert line.startswith("job: input s3://***@b/a b, model m; prompts {'COVID': ['word word")
    assert len(line) < 2 * LONGEST_VALUE


NOISE = """
import logging, sys, warnings
from dataclasses import dataclass
from cxr_ray.config import run_job
from cxr_ray.config.terminal import KEPT_ONLY

@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    '''Make noise.'''
    input_uri: str = "in"
    fail: bool = False
    debug: bool = False

def job(config):
    warnings.warn("of code", UserWarning)
    logging.getLogger("urllib3").warning("pool is full")
    logging.getLogger("botocore").error("no region, sftp://jane:pw@host/a")
    logging.getLogger("cxr_ray").warning("cannot read https://host/a?sig=1 now")
    logging.getLogger(KEPT_ONLY).error("a line for the kept log of a run")
    if config.fail:
        raise OSError("lost sftp://jane:pw@host/a")

run_job(Config, job)
"""


def noise(*flags: str, python: tuple[str, ...] = ()) -> list[str]:
    line = [sys.executable, *python, "-c", NOISE, *flags]
    lines = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False).stderr.splitlines()
    return [line[9:] if line[2:3] == ":" else line for line in lines]  # without the time of day


OURS = ["I -c: defaults", "E no region, sftp://***@host/a", "W cannot read https://host/a?*** now"]


def test_only_our_lines_and_the_errors_of_others_reach_the_terminal():
    assert noise() == OURS


@pytest.mark.slow
def test_what_was_hidden_can_be_asked_for():
    for shown in (noise("--debug"), noise(python=("-W", "default"))):
        assert any("UserWarning: of code" in line for line in shown)
    assert "W pool is full" in noise("--debug")


@pytest.mark.slow
def test_an_unforeseen_error_shows_no_secret_even_in_its_traceback():
    assert noise("--fail")[-1] == "error: OSError: lost sftp://***@host/a (run again with --debug for the traceback)"
    debug = noise("--fail", "--debug")
    assert "Traceback (most recent call last):" in debug
    assert debug[-1] == "OSError: lost sftp://***@host/a"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_character_shows_its_escape(encoding):
    code = (
        "import sys; from cxr_ray.config.terminal import set_up_terminal; set_up_terminal(debug=False); "
        "print(sys.argv[1], '\\udcff'); print(sys.argv[1], file=sys.stderr)"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code, "Lüge 肺"], env=environment, capture_output=True, check=False)
    shown = "Lüge 肺".encode(encoding, "backslashreplace")
    assert done.stdout.splitlines() == [shown + b" \\udcff"]
    assert done.stderr.splitlines() == [shown]
