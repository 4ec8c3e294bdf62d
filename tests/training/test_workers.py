import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from ray.train import ScalingConfig

from cxr_ray.cluster.nodes import NodeRoom
from cxr_ray.config import TrainClassifierConfig
from cxr_ray.errors import ClusterError
from cxr_ray.training import workers as module
from cxr_ray.training.workers import await_workers, cpus_per_worker, leaves_other_gpus, scaling_of, worker_slots

NODES = st.lists(
    st.builds(NodeRoom, cpus=st.integers(0, 64).map(float), gpus=st.integers(0, 8)), min_size=1, max_size=5
)


@given(NODES, st.integers(1, 8), st.booleans())
def test_workers_fit_on_single_nodes_with_the_maximum_number_of_cpus(nodes, workers, use_gpu):
    if worker_slots(nodes, 1, use_gpu=use_gpu) < workers:
        with pytest.raises(ClusterError):
            cpus_per_worker(nodes, workers, use_gpu=use_gpu, minimum=workers)
        return
    cpus = cpus_per_worker(nodes, workers, use_gpu=use_gpu, minimum=workers)
    assert worker_slots(nodes, cpus, use_gpu=use_gpu) >= workers
    assert not use_gpu or leaves_other_gpus(nodes, cpus)
    for more in range(cpus + 1, 65):
        fits = worker_slots(nodes, more, use_gpu=use_gpu) >= workers
        assert not fits or (use_gpu and not leaves_other_gpus(nodes, more))


def test_one_worker_takes_a_node_and_not_the_cluster():
    assert cpus_per_worker([NodeRoom(cpus=8.0)] * 3, 1, use_gpu=False, minimum=1) == 8
    assert cpus_per_worker([NodeRoom(cpus=4.0)] * 3, 2, use_gpu=False, minimum=2) == 4


def test_a_worker_with_a_gpu_leaves_the_other_gpus_their_cpus():
    node = NodeRoom(cpus=16.0, gpus=4)
    assert [cpus_per_worker([node], workers, use_gpu=True, minimum=workers) for workers in (1, 4)] == [4, 4]
    assert worker_slots([node], 4, use_gpu=True) == 4


def test_the_node_with_the_fewest_cpus_per_gpu_keeps_its_other_gpus_too():
    few, many = NodeRoom(cpus=8.0, gpus=4), NodeRoom(cpus=8.0, gpus=1)
    assert cpus_per_worker([many, few], 1, use_gpu=True, minimum=1) == 2
    assert cpus_per_worker([NodeRoom(cpus=64.0, gpus=1), few], 1, use_gpu=True, minimum=1) == 64


def test_elastic_workers_settle_for_fewer():
    assert cpus_per_worker([NodeRoom(cpus=2.0)], 4, use_gpu=False, minimum=1) == 1


@pytest.mark.parametrize(
    ("use_gpu", "message"),
    [
        (False, "--num-workers 9 needs 9 CPUs and the cluster has 2; ask for fewer workers"),
        (True, "--use-gpu with --num-workers 9 needs 9 GPUs and the cluster has 1"),
    ],
)
def test_workers_that_do_not_fit_are_refused(use_gpu, message):
    with pytest.raises(ClusterError, match=message):
        cpus_per_worker([NodeRoom(cpus=2.0, gpus=1)], 9, use_gpu=use_gpu, minimum=9)


@pytest.mark.parametrize(
    ("num_workers", "use_gpu", "streams_images", "scaled", "resources", "threads"),
    [
        ("2", False, False, 2, {"CPU": 8}, 8),
        ("2", False, True, 2, {"CPU": 4}, 8),  # the other half of the CPUs decodes images
        ("1", True, False, 1, {"CPU": 4, "GPU": 1}, 4),
        ("4", True, False, 4, {"CPU": 4, "GPU": 1}, 4),  # two GPUs a node
        ("1..9", False, False, (1, 9), {"CPU": 1}, 1),  # nine workers fit only if each has one CPU
        ("1..3", True, True, (1, 3), {"CPU": 2, "GPU": 1}, 4),
        ("1..2", False, False, (1, 2), {"CPU": 8}, 8),
    ],
)
def test_the_workers_resources_are_those_that_the_cluster_has(
    monkeypatch, num_workers, use_gpu, streams_images, scaled, resources, threads
):
    monkeypatch.setattr(
        module, "possible_nodes", lambda for_gpus: [NodeRoom(cpus=8.0, gpus=2), NodeRoom(cpus=8.0, gpus=2)]
    )
    config = TrainClassifierConfig(dataset_uri="d", output_uri="o", num_workers=num_workers, use_gpu=use_gpu)
    found, each = scaling_of(config, streams_images=streams_images)
    assert (found.num_workers, found.use_gpu) == (scaled, use_gpu)
    assert (found.resources_per_worker, each) == (resources, threads)


def test_workers_on_cpus_that_may_grow_leave_none_to_decode_a_stream():
    config = TrainClassifierConfig(dataset_uri="d", output_uri="o", num_workers="1..4")
    with pytest.raises(
        ClusterError, match=r"--num-workers 1\.\.4 on CPUs could leave no CPU to decode the stream; give one"
    ):
        scaling_of(config, streams_images=True)


class Keeper:
    """An actor of another job."""

    def is_there(self):
        return True


@pytest.mark.cluster
def test_waiting_for_room_for_the_workers_is_logged_and_ends_with_one_line(ray_cluster, caplog):
    keeper = ray.remote(num_cpus=2)(Keeper).remote()
    ray.get(keeper.is_there.remote())
    config = TrainClassifierConfig(dataset_uri="d", output_uri="o", num_workers=2, max_wait_minutes=0.05)
    scaling = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1})
    said = (
        r"^the job waited 0\.05 min for 2 CPUs for 2 workers, and no node brought it; .* ask for fewer workers, or wait"
    )
    with caplog.at_level("INFO", "cxr_ray"), pytest.raises(ClusterError, match=said):
        await_workers(scaling, config)
    assert "waiting for 2 CPUs for 2 workers: 0 s" in caplog.text
    ray.kill(keeper)
    await_workers(scaling, config)
