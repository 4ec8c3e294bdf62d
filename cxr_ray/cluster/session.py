"""Joining a Ray cluster."""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr_ray.cluster.core_lines import without_core_lines
from cxr_ray.errors import ClusterError

ANSWERS_WITHIN_S = 5
QUIET_RAY = {
    # Ray Data passes references to objects to actors that may restart, and for each of them Ray's core writes an error
    # ("constructor arguments in the object store") on which no user can act. A failure that stops a job reaches it as a
    # Python exception.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Environment variables that keep Ray's own lines off the terminal; a variable that the user has set is left alone."""

log = logging.getLogger("cxr_ray")


@contextmanager
def ray_session() -> Iterator[None]:
    """Join the cluster that `RAY_ADDRESS` names, or one that runs on this machine, or start one for this job.

    The terminal shows the job's lines only: Ray's lines and progress bars are switched off, and what workers print
    goes to Ray's log files and dashboard. `RAY_BACKEND_LOG_LEVEL=info` brings back the lines of Ray's C++ core. A
    cluster started here ends with the job. Its workers run at the priority of the job: Ray would lower it by 15, and
    training on a small machine would wait for every other program there.

    Raises:
        ClusterError: if the cluster at `RAY_ADDRESS` does not answer, or refuses a job without a token.
    """
    for name, value in QUIET_RAY.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data  # configures its logger when imported, so it must be imported before the level is set

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_worker_niceness", "0")
    named = os.environ.get("RAY_ADDRESS")
    if named and not _may_answer(named):
        raise ClusterError(f"no Ray cluster answers at RAY_ADDRESS={named}; start it, or unset RAY_ADDRESS")
    # An address that Ray finds by itself is not passed to it: with an address, Ray ignores this machine's token.
    address = None if named or not _last_is_gone() else "local"
    dashboard = None if named else False
    try:
        with without_core_lines():  # the core announces its log level before it obeys it
            ray.init(address=address, include_dashboard=dashboard, logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError as failure:
        raise ClusterError(
            f"{failure}; if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        ) from failure
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _last_is_gone() -> bool:
    """Whether the cluster that `ray start` last began here no longer answers; Ray would try it for 15 minutes."""
    note = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    last = note.read_text().strip() if note.exists() else ""  # this file of Ray's is left behind by a crash
    if not last or _may_answer(last):
        return False
    log.warning("the Ray cluster that ran on this machine at %s is gone; this job starts its own", last)
    return True


def _may_answer(address: str) -> bool:
    """False if `address` is host:port and nothing listens there; other forms (auto, local, ray://) are left to Ray."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN_S):
            return True
    except OSError:
        return False


def cluster_address() -> str:
    """Address of the cluster that this process has joined, in the form that `RAY_ADDRESS` takes."""
    import ray

    return str(ray.get_runtime_context().gcs_address)
