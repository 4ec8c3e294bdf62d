"""The command of a job that is submitted to a cluster: checked by the job's own parser, free of secrets, and named."""

import dataclasses
import difflib
import hashlib
import json
import runpy
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from cxr_ray.config.command_line import load_config, take_recipe_flags
from cxr_ray.config.redaction import redacted_values
from cxr_ray.errors import ConfigError

NOT_FOR_A_CLUSTER = ("submit", "demo", "predict_image")
"""Jobs that work on the machine where they are typed."""
RECIPES = "submitted_recipes"
"""Folder of the working directory that holds the recipes from outside the repository."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobCommand:
    """A job and its flags, as a cluster runs them.

    Attributes:
        name: name of the job, such as `classify_archive`.
        entrypoint: command line, relative to the working directory.
        submission: name that all submissions of the same work share: the job, and a hash of all of its options.
        recipes: the recipes that travel, as path in the working directory and file on this machine.
    """

    name: str
    entrypoint: str
    submission: str
    recipes: dict[str, Path]


def job_command(root: Path, job: str, arguments: Sequence[str]) -> JobCommand:
    """Check a job's flags with the job's own parser, and make its command for a cluster.

    Args:
        root: folder of the repository, which holds `jobs/`.
        job: the job as name, file name or path.
        arguments: the job's own flags.

    Raises:
        ConfigError: if the job is unknown, its flags or recipes are wrong, an option holds a secret, or a path would
            mean another folder on the cluster.
        SystemExit: with code 2 if a flag is wrong or missing, with code 0 after the job's own `--help`.
    """
    name = PurePath(job).name.removesuffix(".py")
    if name in NOT_FOR_A_CLUSTER:
        raise ConfigError(f"{name} works on this machine and is not submitted; run python jobs/{name}.py")
    config = load_config(_config_class(root, name), arguments, program=f"jobs/{name}.py")
    options = dataclasses.asdict(config)
    for option, value in options.items():
        _check_for_cluster(option, value)
    paths, flags = take_recipe_flags(arguments)
    places = [_place_of_recipe(root, path, number) for number, path in enumerate(paths)]
    words = ["python", f"jobs/{name}.py", *(word for place in places for word in ("--config", place)), *flags]
    options.pop("debug", None)
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
    recipes = dict(zip(places, map(Path, paths), strict=True))
    return JobCommand(name=name, entrypoint=shlex.join(words), submission=f"{name}-{digest[:12]}", recipes=recipes)


def _config_class(root: Path, name: str) -> type[Any]:
    """The config class of a job, which is the one dataclass that its file imports."""
    path = root / "jobs" / f"{name}.py"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.py") if file.stem not in NOT_FOR_A_CLUSTER)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the jobs for a cluster are {', '.join(known)}"
        raise ConfigError(f"no job is named {name!r}; {hint}")
    names = runpy.run_path(str(path), run_name=name)
    found = [value for value in names.values() if isinstance(value, type) and dataclasses.is_dataclass(value)]
    if len(found) != 1:
        raise ConfigError(f"{path} must import one config class to be submitted; it imports {len(found)}")
    return found[0]


def _check_for_cluster(option: str, value: Any) -> None:
    """Refuse secrets, which the dashboard would show to everyone, and paths that the nodes do not have."""
    if redacted_values(value) != value:
        raise ConfigError(
            f"{option} holds a user name, a password or a signature, and the command of a submitted job is shown to "
            "everyone who sees the dashboard; set the credentials where ray start runs"
        )
    if option.endswith(("_uri", "_uris")):
        for uri in [value] if isinstance(value, str) else value or ():
            if uri and "://" not in uri and not uri.startswith("/"):
                raise ConfigError(
                    f"{option} {uri!r} is a path of this machine; give a URI such as s3://..., or the absolute path of a "
                    "folder that every node has"
                )


def _place_of_recipe(root: Path, path: str, number: int) -> str:
    """Path of a recipe in the working directory: its own below the root, else one in a folder for recipes."""
    recipe = Path(path).resolve()
    if recipe.is_relative_to(root.resolve()):
        return recipe.relative_to(root.resolve()).as_posix()
    return f"{RECIPES}/{number}_{recipe.name}"
