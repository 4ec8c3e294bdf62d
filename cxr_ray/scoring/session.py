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

    Raises ClusterError if nothing answers at `RAY_ADDRESS`.
    """
    import ray
    import ray.data  # configures its logger when imported, so it must be imported before that is set

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(address=_address(), logging_level=logging.ERROR, log_to_driver=False, **_of_its_own())
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _of_its_own() -> dict[str, bool]:
    return {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}


def _address() -> str | None:
    """What `ray.init` is to join; it would try a cluster that is gone for a quarter of an hour."""
    named = os.environ.get("RAY_ADDRESS")
    if named:
        if not _may_answer(named):
            raise ClusterError(f"no Ray cluster answers at RAY_ADDRESS={named}; start it, or unset RAY_ADDRESS")
        return named
    latest = _address_of_ray_start()
    if latest and not _may_answer(latest):
        log.warning("the Ray cluster started here before, at %s, is gone; this job starts one of its own", latest)
        return "local"
    return latest


def _address_of_ray_start() -> str | None:
    """Of the cluster last started by `ray start` on this machine, where Ray notes it; the note outlives a crash."""
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    note = Path(folder, "ray", "ray_current_cluster")
    return note.read_text().strip() or None if note.exists() else None


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
