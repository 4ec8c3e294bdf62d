"""Nodes that are lost by a training, and nodes that join one."""

import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ray.cluster_utils import Cluster
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.controller.state import ReschedulingState, RestartingState, RunningState

from cxr_ray.archive.tables import read_table
from cxr_ray.cluster.patience import Patience
from cxr_ray.errors import ClusterError
from cxr_ray.training import lost_workers as module
from cxr_ray.training.lost_workers import LostWorkers, loss_of
from tests.faults.commands import REPOSITORY, Job, finish, start
from tests.training.small_trainings import saved_progress, write_squares

JOB = REPOSITORY / "jobs/train_classifier.py"
QUICK_GROWTH = Path(__file__).with_name("quick_growth.py")
SMALL = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
LOSS = r"worker \d of the training was lost; the running epoch is repeated"
OPTIONS = {"backbone": "efficientnet_b0", "image-size": 32, "batch-size": 8}


def test_a_lost_worker_is_named_and_not_the_neighbours_that_fail_with_it():
    lost = WorkerHealthCheckFailedError("A worker health check failed.", ConnectionError("recvmsg"))
    assert loss_of(WorkerGroupError("...", {0: RuntimeError("reset by peer"), 1: lost})) == (
        "worker 1 of the training was lost"
    )
    assert loss_of(WorkerGroupError("...", {0: lost, 2: lost})) == "workers 0, 2 of the training were lost"
    assert loss_of(WorkerGroupError("Traceback\nValueError: no such layer", {0: ValueError()})) == (
        "ValueError: no such layer"
    )
    assert loss_of(ControllerError(OSError("disk full"))) == "disk full"


@pytest.mark.parametrize("waiting", [RestartingState, ReschedulingState])  # of MIN..MAX workers, of N
def test_waiting_for_nodes_after_a_loss_is_said_and_bounded(monkeypatch, waiting):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    said = []
    listener = SimpleNamespace(add=SimpleNamespace(remote=said.append))
    callback = LostWorkers(listener, Patience(0.001, wanted="2 CPUs for 2 workers", fix="add a node"))
    lost = ControllerError(OSError("disk full"))
    callback.after_controller_state_update(RunningState(), RestartingState(lost))
    assert said == ["disk full; the running epoch is repeated"]
    callback.after_controller_state_update(RestartingState(lost), waiting(lost))
    assert said[1:] == ["waiting for 2 CPUs for 2 workers: 0 s"]
    callback.after_controller_state_update(waiting(lost), RunningState())
    time.sleep(0.1)
    callback.after_controller_state_update(RunningState(), RestartingState(lost))
    time.sleep(0.1)
    with pytest.raises(ClusterError, match=r"waited 0\.001 min for 2 CPUs for 2 workers"):
        callback.after_controller_state_update(RestartingState(lost), waiting(lost))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture
def cluster(short_folder, monkeypatch):
    """A head without CPUs; the tests add nodes with one."""
    monkeypatch.setenv("RAY_TMPDIR", str(short_folder))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    yield cluster
    cluster.shutdown()


def train(cluster, dataset, output, options, program=(), **variables) -> Job:
    flags = OPTIONS | {"dataset-uri": dataset, "output-uri": output} | options
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    return start([sys.executable, *program, JOB, *argv], RAY_ADDRESS=cluster.address, **variables)


def wait_until(job, happened):
    deadline = time.monotonic() + 240
    while not happened():
        assert job.process.poll() is None, job.said
        assert time.monotonic() < deadline, job.said
        time.sleep(0.05)


def wait_for_epoch(job, output, epoch, workers):
    """Wait until an epoch from `epoch` on was trained by so many workers."""

    def is_trained():
        progress = saved_progress(output)
        return progress.epoch >= epoch and progress.history[-1]["workers"] == workers

    wait_until(job, is_trained)


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.slow
def test_an_elastic_training_takes_a_node_that_joins_and_goes_on_without_one_that_is_lost(cluster, dataset, tmp_path):
    first = cluster.add_node(num_cpus=1, **SMALL)
    job = train(cluster, dataset, tmp_path, {"num-workers": "1..2", "epochs": 12}, program=[QUICK_GROWTH])
    wait_for_epoch(job, tmp_path, 1, workers=1)
    cluster.add_node(num_cpus=1, **SMALL)
    wait_for_epoch(job, tmp_path, 2, workers=2)
    cluster.remove_node(first, allow_graceful=False)
    assert finish(job) == 0, job.said
    history = read_table(f"{tmp_path}/history.parquet")
    assert history["epoch"].to_pylist() == list(range(1, 13))
    assert re.fullmatch("1+2+1+", "".join(map(str, history["workers"].to_pylist())))
    assert np.isfinite([history[name].to_numpy() for name in ("train_loss", "val_loss", "val_accuracy")]).all()
    assert len(re.findall(LOSS, job.said)) == 1


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.slow
def test_a_lost_node_is_replaced_and_waiting_for_another_ends_with_one_line(cluster, dataset, tmp_path):
    first, second = (cluster.add_node(num_cpus=1, **SMALL) for _ in range(2))
    often = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "3"}
    job = train(cluster, dataset, tmp_path, {"num-workers": 2, "epochs": 99, "max-wait-minutes": 0.5}, **often)
    wait_for_epoch(job, tmp_path, 1, workers=2)
    cluster.remove_node(first, allow_graceful=False)
    cluster.add_node(num_cpus=1, **SMALL)
    wait_until(job, lambda: re.search(LOSS, job.said))
    wait_for_epoch(job, tmp_path, saved_progress(tmp_path).epoch + 1, workers=2)
    cluster.remove_node(second, allow_graceful=False)
    assert finish(job) == 1
    assert "the job waited 0.5 min for 2 CPUs for 2 workers, and no node brought it" in job.said.splitlines()[-1]
    history = saved_progress(tmp_path).history
    assert [metrics["epoch"] for metrics in history] == list(range(1, len(history) + 1))
