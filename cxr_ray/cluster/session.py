"""Joining a Ray cluster."""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr_ray.errors import ClusterError

ANSWERS_WITHIN_S = 5

log = logging.getLogger("cxr_ray")


@contextmanager
def ray_session() -> Iterator[None]:
    """Join the cluster that `RAY_ADDRESS` names, or one started on this machine, or start one for this job.

    Quiet: Ray's own lines and bars give way to the job's; what workers print is in Ray's logs and dashboard. A
    cluster started here ends with the job, and its workers keep the job's priority: Ray would lower it by 15, and
    training on a small machine wait for whatever else runs there.

    Raises ClusterError if the cluster at `RAY_ADDRESS` does not answer, or not without a token.
    """
    import ray
    import ray.data  # configures its logger when imported, so it must be imported before that is set

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_worker_niceness", "0")
    named = os.environ.get("RAY_ADDRESS")
    if named and not _may_answer(named):
        raise ClusterError(f"no Ray cluster answers at RAY_ADDRESS={named}; start it, or unset RAY_ADDRESS")
    # No address that Ray finds by itself is handed to it: with one, it leaves this machine's token out.
    address = None if named or not _last_is_gone() else "local"
    dashboard = None if named else False
    try:
        ray.init(address=address, include_dashboard=dashboard, logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError as failure:
        raise ClusterError(
            f"{failure}; if it asks for a token, let RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH name it"
        ) from failure
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _last_is_gone() -> bool:
    """Whether nothing answers where `ray start` last began a cluster here; Ray would call it for a quarter of an hour."""
    note = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    last = note.read_text().strip() if note.exists() else ""  # Ray's note outlives a crash
    if not last or _may_answer(last):
        return False
    log.warning("the Ray cluster started here before, at %s, is gone; this job starts one of its own", last)
    return True


def _may_answer(address: str) -> bool:
    """False if `address` is host:port and nothing listens there; other forms (auto, local, ray://) are Ray's matter."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN_S):
            return True
    except OSError:
        return False


def cluster_address() -> str:
    """Of the cluster that this process has joined, as `RAY_ADDRESS` takes it."""
    import ray

    return str(ray.get_runtime_context().gcs_address)
