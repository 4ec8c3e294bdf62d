"""Config of the job that runs another job on a Ray cluster, and the order of its arguments."""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated

import tyro

from cxr_ray.config.checks import require
from cxr_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitConfig:
    """Run a job on the Ray cluster at RAY_ADDRESS: submit it, show its log, and end with its exit code. Options of the submission come before the name of the job, and the job's own flags after it."""

    job: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="JOB")]
    """Name of the job, such as classify_archive or jobs/classify_archive.py."""
    arguments: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[FLAG ...]")] = ()
    """The job's own flags; the job's own parser checks them before anything is submitted."""
    wait_for_nodes: int = 0
    """Minimum number of nodes, the head included, that are alive before the job is submitted; 0 does not wait."""
    wait_minutes: float = 15.0
    """Maximum number of minutes to wait for --wait-for-nodes; the exit code is 1 if the nodes are not there by then."""
    require_env: tuple[str, ...] = ()
    """Names of environment variables without which the job is not started. Variables AWS_* must be set on every node
    that is alive, the others on the node that runs the job's driver. Values are neither read here nor sent."""
    once: bool = False
    """Submit nothing if the same command has succeeded on this cluster before; by default it runs again, and does what
    is new in its input."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges, and that the names of variables are names."""
        require(self.wait_for_nodes >= 0, "wait_for_nodes", self.wait_for_nodes, ">= 0")
        require(self.wait_minutes > 0, "wait_minutes", self.wait_minutes, "> 0")
        for name in self.require_env:
            if not name.isidentifier():  # without the text, which may be NAME=SECRET
                raise ConfigError("require_env must be names of variables, without values, such as AWS_ACCESS_KEY_ID")


def with_job_first(argv: Sequence[str], jobs: Collection[str]) -> list[str]:
    """Order arguments as `JOB [OPTION ...] -- [FLAG ...]`, so that the job's own flags are left to the job.

    Args:
        argv: arguments of submit.py: options, the name of the job, and the job's own flags.
        jobs: names of the jobs, without `.py`.

    Returns:
        The arguments in order, or unchanged if none of them is the name of a job or almost one.
    """
    for place, word in enumerate(argv):
        if difflib.get_close_matches(PurePath(word).name.removesuffix(".py"), jobs, n=1, cutoff=0.8):
            options = [option for option in argv[:place] if option != "--"]
            return [word, *options, "--", *argv[place + 1 :]]
    return list(argv)
