"""Tests of which cluster a job joins, and of when it starts a cluster of its own."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from cxr_ray.cluster.nodes import NodeRoom
from cxr_ray.cluster.session import joined_nodes, ray_session
from cxr_ray.errors import ClusterError

PRIORITIES_AND_CLUSTER = """
import os, ray
from cxr_ray.cluster.session import ray_session
with ray_session():
    print(os.nice(0), ray.get(ray.remote(lambda: os.nice(0)).remote()), ray.get_runtime_context().gcs_address)
"""


@contextmanager
def closed_port():
    """Yield a port of this machine on which nothing listens and which no other program gets inside the block."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.cluster
@pytest.mark.slow
def test_a_job_starts_its_own_cluster_at_its_own_priority_where_the_last_one_has_ended(short_folder):
    """Ray's file with the cluster's address survives a crash of the machine; Ray would try it for 15 minutes."""
    environment = os.environ | {"RAY_TMPDIR": str(short_folder)}
    environment.pop("RAY_ADDRESS", None)
    (short_folder / "ray").mkdir()
    with closed_port() as port:
        gone = f"127.0.0.1:{port}"
        (short_folder / "ray/ray_current_cluster").write_text(gone)
        line = [sys.executable, "-c", PRIORITIES_AND_CLUSTER]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True, timeout=120)
    ours, theirs, joined = done.stdout.split()
    assert theirs == ours
    assert joined != gone
    assert f"at {gone} is gone; this job starts its own" in done.stderr


@pytest.mark.cluster
@pytest.mark.slow
def test_a_cluster_started_by_ray_start_is_joined_with_its_token(short_folder):
    """Ray finds such a cluster's token by itself only where no address names the cluster."""
    environment = os.environ | {"RAY_TMPDIR": str(short_folder), "HOME": str(short_folder)}
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        environment.pop(name, None)
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    subprocess.run([*ray, "get-auth-token", "--generate"], env=environment, capture_output=True, check=True)
    start = [*ray, "start", "--head", "--port=0", "--num-cpus=1", "--include-dashboard=false", "--block"]
    note = short_folder / "ray/ray_current_cluster"
    line = [sys.executable, "-c", PRIORITIES_AND_CLUSTER]
    with subprocess.Popen(
        [*start, f"--temp-dir={short_folder}/ray"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as head:
        try:
            until = time.monotonic() + 60
            while not note.exists() and time.monotonic() < until:
                time.sleep(0.5)
            address = note.read_text()
            found = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)
            named = subprocess.run(
                line,
                env=environment | {"RAY_ADDRESS": address},
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        finally:
            head.terminate()
    assert found.stdout.split()[-1:] == [address], found.stderr
    assert (
        f"ClusterError: the Ray cluster at RAY_ADDRESS={address} asks for a token; set RAY_AUTH_MODE=token"
        in named.stderr
    )


@pytest.mark.cluster
def test_a_cluster_that_was_joined_has_nodes(ray_cluster):
    assert joined_nodes() == [NodeRoom(cpus=2)]


@pytest.mark.slow
def test_a_named_cluster_that_does_not_answer_is_one_line():
    """A new process asks, because this one may have joined a cluster already."""
    with closed_port() as port:
        for host in ("127.0.0.1", "localhost"):
            environment = os.environ | {"RAY_ADDRESS": f"{host}:{port}"}
            line = [sys.executable, "-c", PRIORITIES_AND_CLUSTER]
            asked = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)
            refusal = f"ClusterError: no Ray cluster answers at RAY_ADDRESS={host}:{port}; start it"
            assert asked.stderr.splitlines()[-1].split(", or")[0].endswith(refusal)


@pytest.mark.slow
@pytest.mark.long
def test_a_server_that_says_nothing_is_one_line_within_a_minute():
    """Ray would ask it 20 times, 40 s each."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        environment = os.environ | {"RAY_ADDRESS": f"127.0.0.1:{mute.getsockname()[1]}"}
        line = [sys.executable, "-c", PRIORITIES_AND_CLUSTER]
        asked = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=70)
    assert asked.stderr.splitlines()[-1].endswith("; start it, or unset RAY_ADDRESS")


def test_a_cluster_of_another_version_is_refused_in_one_line(monkeypatch):
    import ray

    def mismatch(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1\n")

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", mismatch)
    message = (
        r"^the Ray cluster cannot be joined: Version mismatch: The cluster was started with: Ray: 2\.9\.0 Python: 3\.10\.1; "
        "use the cluster's versions of Ray and Python, "
    )
    with pytest.raises(ClusterError, match=message), ray_session():
        pass
