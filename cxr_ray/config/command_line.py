"""Reading of recipes and the command line into one checked config, and of a job's outcome into an exit code."""

import dataclasses
import difflib
import logging
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro
from pydantic import TypeAdapter, ValidationError

from cxr_ray.config.redaction import redacted
from cxr_ray.config.terminal import set_up_terminal, start_line
from cxr_ray.config.user import name_user
from cxr_ray.errors import ConfigError, CxrRayError

Config = TypeVar("Config")
log = logging.getLogger("cxr_ray")

INTERRUPTED = 130  # 128 + the number of SIGINT, which is the exit code that shells report


def run_job(config_class: type[Config], job: Callable[[Config], object], argv: Sequence[str] | None = None) -> None:
    """Load the config, say in one line what the job will do, call `job` with the config and end the process.

    The exit codes are 0 for done, 1 for failed, 2 for bad arguments or a bad recipe, 3 for too many error rows (the
    gate) and 130 for interrupted. A failure is one line on standard error; `--debug` adds its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    set_up_terminal(debug=debug)
    name_user()
    try:
        config = load_config(config_class, arguments)
        debug = getattr(config, "debug", debug)  # a recipe may set debug
        set_up_terminal(debug=debug)
        log.info("%s", start_line(Path(sys.argv[0]).stem, config))
        job(config)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes if this job can resume", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except CxrRayError as error:
        if debug:
            raise
        print(redacted(f"error: {error}"), file=sys.stderr)
        sys.exit(error.exit_code)


def load_config(config_class: type[Config], argv: Sequence[str], program: str | None = None) -> Config:
    """Build a config from the defaults, which the recipes after `--config` override, which the other flags override.

    A recipe overrides the recipes that are named before it.

    Args:
        config_class: a dataclass.
        argv: arguments without the program's name.
        program: name of the program in the help; that of this process if None.

    Raises:
        ConfigError: if a recipe is unreadable, has an unknown key or a value of the wrong type, or a value is out of range.
        SystemExit: with code 2 if a flag is wrong or missing, with code 0 after `--help`.
    """
    paths, flags = take_recipe_flags(argv)
    recipe = {key: value for path in paths for key, value in read_recipe(path, config_class).items()}
    purpose = (config_class.__doc__ or "").strip()
    return tyro.cli(
        config_class,
        prog=program,
        args=flags,
        default=_partial_config(config_class, recipe),
        description=f"{purpose}\n\n--config RECIPE.toml reads any of these options from a file; flags override it.",
    )


def read_recipe(path: str, config_class: type) -> dict[str, Any]:
    """Values of the TOML recipe at `path`, each checked against its field's type in `config_class`.

    Raises:
        ConfigError: if the file is unreadable, or a key is unknown or has a value of the wrong type; the message names
            the key and, for an unknown key, the most similar key that exists.
    """
    try:
        recipe = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read recipe {path}: {error}; check the path and the TOML syntax") from error
    types = get_type_hints(config_class)
    names = [field.name for field in dataclasses.fields(config_class)]
    return {key: _checked(key, value, types, names, path) for key, value in recipe.items()}


def _checked(key: str, value: Any, types: dict[str, Any], names: list[str], path: str) -> Any:
    if key not in names:
        near = difflib.get_close_matches(key, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(names)}"
        raise ConfigError(f"unknown key {key!r} in recipe {path}; {hint}")
    try:
        # The check is strict: "3" is not a number, and true is not 1. Arrays of TOML become tuples.
        value = tuple(value) if isinstance(value, list) else value
        return TypeAdapter(types[key]).validate_python(value, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{key} = {value!r} in recipe {path}: {error.errors()[0]['msg'].lower()}") from error


def take_recipe_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments into the paths of recipes and the other flags; what follows `--` is left as it is.

    Raises:
        ConfigError: if `--config` has no value.
    """
    paths, flags = [], []
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            flags += [argument, *arguments]
            break
        name, equals, value = argument.partition("=")
        if name != "--config":
            flags.append(argument)
            continue
        path = value if equals else next(arguments, None)
        if path is None:
            raise ConfigError(
                "--config needs the path of a recipe; for example --config jobs/recipes/seed_resnet50.toml"
            )
        paths.append(path)
    return paths, flags


def _partial_config(config_class: type[Config], recipe: dict[str, Any]) -> Config:
    """An instance with the recipe's values; required fields that the recipe lacks are marked as missing for tyro.

    `__post_init__` is not called, because only the final config, flags included, can be checked.
    """
    partial = object.__new__(config_class)
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]
        if field.name in recipe:
            value = recipe[field.name]
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            value = tyro.MISSING if field.default is dataclasses.MISSING else field.default
        object.__setattr__(partial, field.name, value)
    return partial
