import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from cxr_ray.archive.uris import open_filesystem

pytest_plugins = ["tests.tiny_models"]
WITH_RAY = ("benchmarks/*", "cluster/*", "faults/*", "scoring/*", "training/[cs]*", "training/test_[!a]*")
collect_ignore_glob = [] if find_spec("ray") else list(WITH_RAY)
"""Tests whose modules import Ray. A machine with a GPU and without Ray runs all others: `pytest -m gpu`."""


os.environ.setdefault("CXR_RAY_PATIENT_SECRET", "of the tests")  # so that no test makes one in the user's home
CACHE = tempfile.TemporaryDirectory(prefix="cxr_ray_cache_")
os.environ.setdefault("XDG_CACHE_HOME", CACHE.name)  # nor fills the user's cache with models of tests

QUIET_THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""For processes that share the cores: a thread that waits for another burns them unless it sleeps."""
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ |= QUIET_THREADS


CHEAP_RAY = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process for each training, idle on one machine
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",  # the folder of logs is listed at intervals, not always
    "LOG_NAME_UPDATE_INTERVAL_S": "3",
    "RAY_enable_metrics_collection": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "30000",
}
"""What Ray's processes need not do in tests, which share few cores with them."""
for name, value in CHEAP_RAY.items():
    os.environ.setdefault(name, value)


def pytest_configure(config: pytest.Config) -> None:
    """Fork Ray's workers from one process that has imported what they import (tests/forked_workers)."""
    if "CXR_RAY_FORKED_WORKERS" in os.environ:  # the session that started this process has a server already
        return
    folder = Path(__file__).parent / "forked_workers"
    address = Path(tempfile.mkdtemp(prefix="cxr_ray_")) / "workers"
    command = [sys.executable, str(folder / "server.py"), str(address)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | QUIET_THREADS)
    config.add_cleanup(lambda: end_server(server, address))
    os.environ["CXR_RAY_FORKED_WORKERS"] = str(address)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def end_server(server: subprocess.Popen, address: Path) -> None:
    """End the server that forks workers, and remove its socket."""
    server.communicate()
    shutil.rmtree(address.parent)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest, so that no process waits for another at the end."""
    items.sort(
        key=lambda item: 0 if item.get_closest_marker("cluster") else 1 if item.get_closest_marker("slow") else 2
    )


@pytest.fixture(autouse=True)
def log_of_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin with a log that reaches the root, whatever a job or library has set for the whole process.

    Fixtures of modules and sessions start before this one: to keep what a test finds would keep what they have set.
    """
    log = logging.getLogger("cxr_ray")
    for name, value in {"handlers": [], "propagate": True, "disabled": False}.items():
        monkeypatch.setattr(log, name, value)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Endpoint of an S3 server (moto) on loopback; the AWS variables point to it as long as the session lives."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", endpoint)
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield endpoint
    server.stop()


@pytest.fixture
def bucket_uri(s3: str) -> str:
    """A bucket of its own for each test."""
    name = f"bucket-{secrets.token_hex(6)}"
    fs, _ = open_filesystem(f"s3://{name}")
    fs.mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared radiographs; tests that need it are skipped where it is absent."""
    shared = Path(os.environ.get("CXR_SHARED") or Path(__file__).parents[1].parent / "shared")
    if not (shared / "data").is_dir():
        pytest.skip(f"no shared radiographs at {shared / 'data'}; name their folder in CXR_SHARED")
    return shared / "data"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder for a Ray of the test's own: those of pytest are too long for the names of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def ray_cluster(s3: str) -> Iterator[None]:
    """A Ray cluster of 2 CPUs for the whole session, whose workers see the S3 server."""
    import logging

    import ray

    os.environ.setdefault("RAY_worker_niceness", "0")  # tests beside these have the priority of this process, too
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
