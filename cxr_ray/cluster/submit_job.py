"""Run a job on a Ray cluster: submit it or attach to it, follow its log, and end with its exit code."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_ray import __version__
from cxr_ray.cluster.job_command import JobCommand, job_command
from cxr_ray.cluster.job_log import follow
from cxr_ray.cluster.job_server import connected, one_line, server_address, wait_for_nodes
from cxr_ray.cluster.working_directory import check_size, digest, travelling_files, working_directory
from cxr_ray.config.command_line import INTERRUPTED
from cxr_ray.config.submission import SubmitConfig
from cxr_ray.errors import ClusterError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

STAY_HERE = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"),
    "CXR_RAY_PATIENT_SECRET",
)
"""Variables that a job uses where it runs, and that are never sent: Ray shows all that is sent to everyone."""

log = logging.getLogger("cxr_ray")


def submit_job(config: SubmitConfig, root: Path) -> int:
    """Run a job on the cluster that `RAY_ADDRESS` names, and return its exit code.

    The same job with the same options is the same work, and runs once at a time: a submission that finds it running
    attaches to it. Where it has ended, it is submitted as its next attempt, and continues from what its output holds.

    Args:
        config: the job, its flags, and the options of the submission.
        root: folder of the repository, which holds `jobs/`, and whose code travels to the cluster.

    Raises:
        ConfigError: if the flags are wrong or hold a secret, or too many bytes would travel.
        ClusterError: if the cluster does not answer, has too few nodes, refuses the token, or is lost.
    """
    command = job_command(root, config.job, config.arguments)
    files = travelling_files(root) | command.recipes
    check_size(files)
    address = server_address()
    if kept := [name for name in STAY_HERE if name in os.environ]:
        log.info("not sent to the cluster: %s; the job uses what is set where ray start runs", ", ".join(kept))
    if config.wait_for_nodes:
        wait_for_nodes(address, config.wait_for_nodes, config.wait_minutes)
    client = connected(address)
    last = last_attempt(client, command.submission)
    if last is not None and not last.status.is_terminal():
        return _attached(client, last, digest(files))
    if last is not None and last.status == "SUCCEEDED" and config.once:
        log.info("%s has succeeded; nothing is submitted", last.submission_id)
        return 0
    submission_id = f"{command.submission}-{1 if last is None else attempt_of(last) + 1}"
    try:
        _submit(client, submission_id, entrypoint(command, config.require_env), files)
    except FileExistsError:  # another machine submitted the same work in the meantime
        return _attached(client, client.get_job_info(submission_id), digest(files))
    log.info("%s is submitted", submission_id)
    return _followed(client, submission_id)


def last_attempt(client: "JobSubmissionClient", submission: str) -> "JobDetails | None":
    """The last submission of the same work on a cluster; None if there is none."""
    attempts = [job for job in client.list_jobs() if _work_and_attempt(job)[0] == submission]
    return max((job for job in attempts if _work_and_attempt(job)[1].isdigit()), key=attempt_of, default=None)


def attempt_of(job: "JobDetails") -> int:
    """Number of an attempt, from 1, with which its submission id ends."""
    return int(_work_and_attempt(job)[1])


def _work_and_attempt(job: "JobDetails") -> tuple[str, str]:
    work, _, attempt = (job.submission_id or "").rpartition("-")
    return work, attempt


def entrypoint(command: JobCommand, variables: Sequence[str]) -> str:
    """Command line of a job, which starts only where `variables` are set."""
    if not variables:
        return command.entrypoint
    return f"python -m cxr_ray.cluster.required_variables {' '.join(variables)} && {command.entrypoint}"


def _submit(client: "JobSubmissionClient", submission_id: str, line: str, files: Mapping[str, Path]) -> None:
    """Send a job; raises `FileExistsError` if the cluster has one of this id."""
    metadata = {"version": __version__, "code": digest(files)}
    with working_directory(files) as folder:
        try:
            client.submit_job(
                entrypoint=line,
                submission_id=submission_id,
                runtime_env={"working_dir": str(folder)},
                metadata=metadata,
            )
        except (OSError, RuntimeError) as error:  # OSError: every error of requests
            if "already exists" in str(error):
                raise FileExistsError(submission_id) from error
            raise ClusterError(
                f"{submission_id} could not be submitted ({one_line(error)}); the same command tries again, and follows the job "
                "if it runs after all"
            ) from error


def _attached(client: "JobSubmissionClient", job: "JobDetails", code: str) -> int:
    submission_id = str(job.submission_id)
    log.info("%s is running already, and is followed", submission_id)
    if (job.metadata or {}).get("code") != code:
        log.warning("it runs other code than this machine has; to replace it: ray job stop %s", submission_id)
    return _followed(client, submission_id)


def _followed(client: "JobSubmissionClient", submission_id: str) -> int:
    """Print the log of a job until it ends, and return its exit code."""
    try:
        details = follow(client, submission_id)
    except KeyboardInterrupt:
        print(
            f"{submission_id} goes on; the same command follows it again, and ray job stop {submission_id} stops it",
            file=sys.stderr,
        )
        return INTERRUPTED
    code = exit_code(details)
    log.info("%s %s, with exit code %d", submission_id, str(details.status).lower(), code)
    if details.status == "FAILED" and details.driver_exit_code is None:  # the job had no chance to say why
        raise ClusterError(f"{submission_id} was lost: {one_line(details.message or 'no reason is known')}")
    return code


def exit_code(details: "JobDetails") -> int:
    """Exit code of a job that has ended; one that was stopped counts as interrupted, as at a terminal."""
    if details.status == "STOPPED":
        return INTERRUPTED
    code = details.driver_exit_code
    if code is None:
        return 0 if details.status == "SUCCEEDED" else 1
    return code if code >= 0 else 128 - code  # a signal, as shells report it
