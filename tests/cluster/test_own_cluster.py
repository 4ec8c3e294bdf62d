"""A cluster for one job on machines that are unlike what Ray expects; each needs a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_ray.cluster import own_cluster as module
from cxr_ray.cluster.own_cluster import own_cluster
from cxr_ray.errors import ClusterError

SUM_ON_A_WORKER = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
from cxr_ray.cluster.own_cluster import own_cluster
with own_cluster():
    import ray
    print("sum", ray.get(ray.remote(lambda: 1 + 2).remote()), flush=True)
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_a_job_starts_ray_with_a_long_path_and_without_a_home(tmp_path):
    root = tmp_path / ("scratch_of_the_batch_system_" * 3)
    root.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"TMPDIR": str(root), "HOME": "/nonexistent"}
    line = [sys.executable, "-c", SUM_ON_A_WORKER]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["sum 3"], done.stderr
    folder = done.stdout.partition("Ray's files are in ")[2].partition(",")[0]
    assert folder.startswith("/tmp/")
    assert not Path(folder).exists()
    assert not [*root.glob("ray*")]


@pytest.fixture
def failing(monkeypatch):
    """Let each start of Ray raise the next of these errors."""
    import ray

    errors, warmed = [], []

    def init(*_, **__):
        if errors:
            raise errors.pop(0)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(module, "_warm_up", lambda: warmed.append(True))
    monkeypatch.setattr(module, "set_token", lambda: None)
    return errors, warmed


def test_a_start_that_takes_too_long_is_tried_again_after_the_files_were_read(failing, caplog):
    errors, warmed = failing
    errors += [Exception("The current node timed out during startup."), ConnectionError("no GCS")]
    with own_cluster():
        assert len(warmed) == 2
    errors += [RuntimeError("Failed to start GCS.\n more")] * 3
    with (
        pytest.raises(
            ClusterError, match=r"^Ray did not start on this machine in 3 attempts \(Failed to start GCS\.\); try again"
        ),
        own_cluster(),
    ):
        pass


def test_what_no_second_attempt_changes_is_one_line(failing, monkeypatch):
    errors, warmed = failing
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    errors += [OSError(30, "Read-only file system"), ValueError("The configured object\nstore exceeds /dev/shm")]
    with (
        pytest.raises(ClusterError, match=r"^Ray cannot keep its files in /tmp \(.*Read-only.*in RAY_TMPDIR$"),
        own_cluster(),
    ):
        pass
    with (
        pytest.raises(ClusterError, match=r"^Ray cannot start on this machine: The configured object store exc"),
        own_cluster(),
    ):
        pass
    assert not warmed
