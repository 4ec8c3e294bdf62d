"""Join a Ray cluster, or start one on this machine."""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr_ray.cluster.core_lines import without_core_lines
from cxr_ray.errors import ClusterError

CONNECT_TIMEOUT_S = 5
"""Seconds that a cluster has to accept a TCP connection before it counts as gone."""
QUIET_RAY = {
    # Ray Data passes references to objects to actors that may restart, and for each of them Ray's core writes an error
    # ("constructor arguments in the object store") on which no user can act. A failure that stops a job reaches it as a
    # Python exception.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Environment variables that keep Ray's own lines off the terminal; a variable that the user has set keeps its value."""

log = logging.getLogger("cxr_ray")


@contextmanager
def ray_session() -> Iterator[None]:
    """Join the cluster that `RAY_ADDRESS` names, or one that runs on this machine, or start one for this job.

    A process that has already joined a cluster keeps it. The terminal shows the job's lines only: Ray's lines and
    progress bars are switched off, and what workers print goes to Ray's log files and dashboard.
    `RAY_BACKEND_LOG_LEVEL=info` brings back the lines of Ray's C++ core.

    A cluster that is started here ends with the block. Its workers run at the priority of the job: by default Ray
    lowers it by 15, and training on a small machine would wait for every other program.

    Raises:
        ClusterError: if the cluster does not answer, or refuses a job without a token.
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
    if named and not _is_reachable(named):
        raise ClusterError(f"no Ray cluster answers at RAY_ADDRESS={named}; start it, or unset RAY_ADDRESS")
    # An address that Ray finds by itself is not passed to it: with an address, Ray ignores this machine's token.
    address = None if named or not _last_cluster_is_gone() else "local"
    dashboard = None if named else False
    try:
        with without_core_lines():  # the core logs its level once before it applies it
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


def _last_cluster_is_gone() -> bool:
    """Whether the last cluster of `ray start` on this machine has ended; Ray would try to reach it for 15 minutes."""
    note = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    last = note.read_text().strip() if note.exists() else ""  # Ray leaves this file when the machine crashes
    if not last or _is_reachable(last):
        return False
    log.warning("the Ray cluster that ran on this machine at %s is gone; this job starts its own", last)
    return True


def _is_reachable(address: str) -> bool:
    """Whether a server listens at `address`, if it is host:port; True for other forms, which Ray checks itself.

    Other forms of an address are `auto`, `local` and `ray://...`.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
