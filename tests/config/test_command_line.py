import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from cxr_ray.config import TrainClassifierConfig, load_config
from cxr_ray.config.command_line import read_recipe
from cxr_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Try every kind of field."""

    input_uri: str
    """Required."""
    fractions: tuple[float, float] = (0.5, 0.5)
    """Numbers."""
    names: tuple[str, ...] = ()
    """Words."""
    rows: int | None = None
    """Perhaps a number."""
    rate: float = 0.1
    """A number."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """A choice."""
    debug: bool = False
    """Show tracebacks."""


@pytest.fixture
def recipe(tmp_path):
    def write(text: str) -> str:
        (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
        return str(tmp_path / "recipe.toml")

    return write


def test_defaults_then_recipe_then_flags(recipe):
    path = recipe('input_uri = "s3://é #1"\nrows = 3\nrate = 1\nfractions = [0.25, 0.75]\nnames = ["a", "b"]\n')
    config = load_config(Config, ["--rows", "4", "--config", path, "--precision", "fp32"])
    assert config == Config(
        input_uri="s3://é #1", rows=4, rate=1.0, fractions=(0.25, 0.75), names=("a", "b"), precision="fp32"
    )
    assert load_config(Config, [f"--config={path}"]).rows == 3
    assert load_config(Config, ["--input-uri", "x"]) == Config(input_uri="x")


def test_of_several_recipes_each_overrides_those_before_it(tmp_path):
    (tmp_path / "a.toml").write_text('input_uri = "a"\nrows = 3\n')
    (tmp_path / "b.toml").write_text("rows = 4\n")
    config = load_config(Config, ["--config", f"{tmp_path}/a.toml", f"--config={tmp_path}/b.toml"])
    assert (config.input_uri, config.rows) == ("a", 4)


def test_a_flag_can_give_what_the_recipe_lacks_and_fix_what_it_has(recipe):
    path = recipe('epochs = 0\noutput_uri = "o"\n')
    assert load_config(TrainClassifierConfig, ["--config", path, "--dataset-uri", "d", "--epochs", "2"]).epochs == 2
    with pytest.raises(ConfigError, match=r"^epochs must be >= 1; got 0$"):
        load_config(TrainClassifierConfig, ["--config", path, "--dataset-uri", "d"])


def test_a_required_field_may_not_be_left_out_of_both(recipe, capsys):
    with pytest.raises(SystemExit) as ended:
        load_config(Config, ["--config", recipe("rows = 3\n")])
    assert ended.value.code == 2
    assert "--input-uri" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inptu_uri = 'x'", "unknown key 'inptu_uri' in recipe PATH; did you mean 'input_uri'?"),
        ("zzz = 1", "unknown key 'zzz' in recipe PATH; known keys: input_uri, fractions, names, rows, rate"),
        ("[index]\nrows = 1", "unknown key 'index' in recipe PATH; known keys: "),
        ("rows = '3'", "rows = '3' in recipe PATH: input should be a valid integer"),
        ("rows = 1.5", "rows = 1.5 in recipe PATH: input should be a valid integer"),
        ("rows = true", "rows = True in recipe PATH: input should be a valid integer"),
        ("rate = true", "rate = True in recipe PATH: input should be a valid number"),
        ("debug = 1", "debug = 1 in recipe PATH: input should be a valid boolean"),
        ("input_uri = 3", "input_uri = 3 in recipe PATH: input should be a valid string"),
        ("names = 'a'", "names = 'a' in recipe PATH: input should be a valid tuple"),
        ("names = ['a', 1]", "names = ('a', 1) in recipe PATH: input should be a valid string"),
        ("fractions = [1.0]", "fractions = (1.0,) in recipe PATH: field required"),
        ("precision = 'fp8'", "precision = 'fp8' in recipe PATH: input should be 'bf16' or 'fp32'"),
        ("rows = ", "cannot read recipe PATH: Invalid value"),
    ],
)
def test_bad_recipes_are_named_on_one_line(text, message, recipe):
    path = recipe(text + "\n")
    with pytest.raises(ConfigError) as error:
        read_recipe(path, Config)
    assert str(error.value).startswith(message.replace("PATH", path))
    assert "\n" not in str(error.value)


def test_recipes_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ConfigError, match=rf"cannot read recipe {tmp_path}/none.toml: .*No such file"):
        load_config(Config, ["--config", f"{tmp_path}/none.toml"])
    (tmp_path / "latin.toml").write_bytes("input_uri = 'é'".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot read recipe .*latin.toml: 'utf-8' codec"):
        load_config(Config, ["--config", f"{tmp_path}/latin.toml"])
    with pytest.raises(ConfigError, match="--config needs the path of a recipe; for example --config ") as error:
        load_config(Config, ["--input-uri", "x", "--config"])
    assert (Path(__file__).parents[2] / str(error.value).split()[-1]).is_file()


JOB = """
import sys
from dataclasses import dataclass
from cxr_ray.config import run_job
from cxr_ray.errors import GateError, StorageError

@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    '''End in a given way.'''
    end: str = ""
    debug: bool = False
    def __post_init__(self):
        if self.end == "refused":
            from cxr_ray.errors import ConfigError
            raise ConfigError("end must be allowed; got 'refused'")

def job(config):
    if config.end == "storage":
        raise StorageError("cannot read s3://b; check the URI")
    if config.end == "gate":
        raise GateError("9 of 10 images are errors")
    if config.end == "interrupt":
        raise KeyboardInterrupt
    if config.end == "unforeseen":
        raise ZeroDivisionError("first line\\nsecond line")
    print("done")

run_job(Config, job)
"""


def ended(*flags: str) -> tuple[int, str, str]:
    line = [sys.executable, "-c", JOB, *flags]
    result = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    shown = "\n".join(line for line in result.stderr.splitlines() if " I -c: " not in line)
    return result.returncode, result.stdout, shown


@pytest.mark.parametrize(
    ("end", "code", "shown"),
    [
        ("", 0, ""),
        ("storage", 1, "error: cannot read s3://b; check the URI"),
        ("refused", 2, "error: end must be allowed; got 'refused'"),
        ("gate", 3, "error: 9 of 10 images are errors"),
        ("interrupt", 130, "interrupted; the same command resumes if this job can resume"),
        ("unforeseen", 1, "error: ZeroDivisionError: first line (run again with --debug for the traceback)"),
    ],
)
def test_exit_codes_and_the_one_line_that_goes_with_them(end, code, shown):
    assert ended("--end", end) == (code, "" if code else "done\n", shown)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["storage", "unforeseen"])
def test_debug_shows_the_traceback_whether_flag_or_recipe_asks(end, recipe):
    by_flag = ended("--end", end, "--debug")
    by_recipe = ended("--config", recipe("debug = true\n"), "--end", end)
    for code, _, shown in (by_flag, by_recipe):
        assert code == 1
        assert "Traceback (most recent call last)" in shown


def test_a_bad_flag_ends_with_code_2():
    code, _, shown = ended("--edn", "x")
    assert code == 2
    assert "Perhaps you meant" in shown


def test_importing_the_configs_is_cheap():
    heavy = "import sys, cxr_ray.config; print({'torch', 'ray', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout == "set()\n"
