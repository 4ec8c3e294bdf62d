"""Join a Ray cluster, or start one on this machine."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr_ray.cluster.core_lines import without_core_lines
from cxr_ray.cluster.nodes import NodeRoom, alive_nodes
from cxr_ray.cluster.own_cluster import own_cluster
from cxr_ray.cluster.ray_environment import set_ray_variables, temporary_root
from cxr_ray.errors import ClusterError

CONNECT_TIMEOUT_S = 5
"""Seconds that a cluster has to accept a TCP connection before it counts as gone."""

log = logging.getLogger("cxr_ray")


@contextmanager
def ray_session() -> Iterator[None]:
    """Join the cluster that `RAY_ADDRESS` names, or one that runs on this machine, or start one for this job.

    A process that has already joined a cluster keeps it. The terminal shows the job's lines only: Ray's lines and
    progress bars are switched off, and what workers print goes to Ray's log files and dashboard.
    `RAY_BACKEND_LOG_LEVEL=info` brings back the lines of Ray's C++ core.

    A cluster that is started here ends with the block.

    Raises:
        ClusterError: if the cluster does not answer, refuses a job without a token, runs another version of Ray or
            Python, or does not start.
    """
    set_ray_variables()
    import ray
    import ray.data  # configures its logger when imported, so it must be imported before the level is set

    if ray.is_initialized():
        yield
        return
    with _joined_cluster() if _runs_already() else own_cluster():
        for name in ("ray.data", "ray.train"):
            logging.getLogger(name).setLevel(logging.ERROR)
        yield


def joined_nodes() -> list[NodeRoom]:
    """List the nodes of the cluster that `ray_session` would join; an empty list if it would start one on this machine.

    Raises:
        ClusterError: if the cluster does not answer or refuses a job without a token.
    """
    import ray

    if not ray.is_initialized() and not _runs_already():
        return []
    with ray_session():
        return alive_nodes()


def _runs_already() -> bool:
    """Whether there is a cluster to join; raises `ClusterError` if the one that `RAY_ADDRESS` names does not answer."""
    named = os.environ.get("RAY_ADDRESS")
    if named == "local":  # Ray's word for a cluster of the job's own
        return False
    if not named:
        return _runs_here()
    if not _is_reachable(named):
        raise ClusterError(f"no Ray cluster answers at RAY_ADDRESS={named}; start it, or unset RAY_ADDRESS")
    if _is_host_and_port(named):
        _ask_for_entry(named)
    return True


@contextmanager
def _joined_cluster() -> Iterator[None]:
    import ray

    dashboard = None if os.environ.get("RAY_ADDRESS") else False
    try:
        # An address that Ray finds by itself is not passed to it: with an address, Ray ignores this machine's token.
        with without_core_lines():  # the core logs its level once before it applies it
            ray.init(include_dashboard=dashboard, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ray.exceptions.AuthenticationError) as failure:
        raise ClusterError(
            f"{_one_line(failure)}; if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        ) from failure
    except (RuntimeError, ValueError) as failure:  # RuntimeError: another version of Ray or Python
        ray.shutdown()
        raise ClusterError(
            f"the Ray cluster cannot be joined: {_one_line(failure)}; use the cluster's versions of Ray and Python, and "
            "check RAY_ADDRESS, or unset RAY_ADDRESS to run on this machine"
        ) from failure
    try:
        yield
    finally:
        ray.shutdown()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _runs_here() -> bool:
    """Whether the last cluster of `ray start` on this machine runs; Ray would try to reach it for 15 minutes."""
    note = Path(temporary_root(), "ray", "ray_current_cluster")
    try:
        last = note.read_text().strip()
    except OSError:  # no cluster was started here, or one of another user
        return False
    if not last or _is_reachable(last):
        return bool(last)
    # Ray leaves this file when the machine crashes.
    log.warning("the Ray cluster that ran on this machine at %s is gone; this job starts its own", last)
    return False


def _is_reachable(address: str) -> bool:
    """Whether a server listens at `address`, if it is host:port; True for other forms, which Ray checks itself.

    Other forms of an address are `auto`, `local` and `ray://...`.
    """
    if not _is_host_and_port(address):
        return True
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def _is_host_and_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return port.isdigit() and "/" not in host


def _ask_for_entry(address: str) -> None:
    """Raise `ClusterError` if the cluster at `address` refuses this job's token, or lack of one, or does not answer.

    `ray.init` would ask 20 times, and wait up to 40 s each time for a server that accepts connections and says nothing.
    """
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # there is no public way to ask a cluster once

    try:
        with without_core_lines():
            GcsClient(address=address)
    except ray.exceptions.AuthenticationError as refusal:
        raise ClusterError(
            f"the Ray cluster at RAY_ADDRESS={address} asks for a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        ) from refusal
    except ray.exceptions.RpcError as silence:
        raise ClusterError(
            f"no Ray cluster answers at RAY_ADDRESS={address}; start it, or unset RAY_ADDRESS"
        ) from silence
