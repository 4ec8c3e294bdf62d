"""Which cluster a job joins, and a cluster of the job's own."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from cxr_ray.errors import ClusterError
from cxr_ray.scoring.session import ray_session

PRIORITIES_AND_CLUSTER = """
import os, ray
from cxr_ray.scoring.session import cluster_address, ray_session
with ray_session():
    print(os.nice(0), ray.get(ray.remote(lambda: os.nice(0)).remote()), cluster_address())
"""


@contextmanager
def closed_port():
    """An address of this machine where nothing listens, and that nobody else is given meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.cluster
@pytest.mark.slow
def test_a_cluster_that_is_gone_gives_way_to_one_of_the_jobs_own_and_of_its_priority(short_folder):
    """Ray's note of a cluster outlives it when the machine goes down, and Ray would call it for 15 minutes."""
    environment = os.environ | {"RAY_TMPDIR": str(short_folder)}
    environment.pop("RAY_ADDRESS", None)
    (short_folder / "ray").mkdir()
    with closed_port() as gone:
        (short_folder / "ray/ray_current_cluster").write_text(gone)
        line = [sys.executable, "-c", PRIORITIES_AND_CLUSTER]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True, timeout=120)
    ours, theirs, joined = done.stdout.split()
    assert theirs == ours
    assert joined != gone
    assert f"at {gone}, is gone; this job starts one of its own" in done.stderr


@pytest.mark.parametrize("form", ["{}", "localhost:{}"])
def test_a_named_cluster_that_does_not_answer_is_one_line(form, monkeypatch):
    with closed_port() as gone:
        named = gone if form == "{}" else form.format(gone.rpartition(":")[2])
        monkeypatch.setenv("RAY_ADDRESS", named)
        with pytest.raises(ClusterError, match=f"RAY_ADDRESS={named}; start it"), ray_session():
            raise AssertionError("joined a cluster that is not there")
