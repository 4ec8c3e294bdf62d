"""Joining a Ray cluster."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ray_session() -> Iterator[None]:
    """Join the cluster that `RAY_ADDRESS` names, or one started on this machine, or start one for this job.

    Quiet: Ray's own lines and bars give way to the job's; what workers print is in Ray's logs and dashboard. A
    cluster started here ends with the job, and its workers keep the job's priority: Ray would lower it by 15, and
    training on a small machine wait for whatever else runs there.
    """
    import ray
    import ray.data  # configures its logger when imported, so it must be imported before that is set

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_worker_niceness", "0")
    local = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **local)
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def cluster_address() -> str:
    """Of the cluster that this process has joined, as `RAY_ADDRESS` takes it."""
    import ray

    return str(ray.get_runtime_context().gcs_address)
