"""Tests that the actors of a job fit on single nodes, not only into the sum over the cluster."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.cluster.nodes import NodeRoom
from cxr_ray.errors import ClusterError
from cxr_ray.scoring import pool as module
from cxr_ray.scoring.pool import fit_pool, plan_pool

NODES = st.lists(
    st.builds(NodeRoom, cpus=st.integers(0, 96).map(float), gpus=st.integers(0, 8)), min_size=1, max_size=6
).filter(lambda nodes: sum(n.cpus for n in nodes) > 0 and all(n.cpus for n in nodes if n.gpus))


def actors_that_fit(nodes, pool):
    """Number of actors of `pool` that fit on `nodes`."""
    held = 0
    for node in nodes:
        by_cpu = math.inf if not pool.cpus_per_actor else math.floor(node.cpus / pool.cpus_per_actor + 1e-9)
        held += min(by_cpu, node.holds(0, pool.gpus_per_actor)) if pool.gpus_per_actor else by_cpu
    return held


@given(NODES, st.integers(1, 3))
def test_every_actor_finds_a_node_and_a_load_task_fits_beside_them(nodes, actors_per_group):
    pool = fit_pool(nodes, "auto", None, actors_per_group)
    assert pool.device == ("cuda" if any(node.gpus for node in nodes) else "cpu")
    assert pool.actors >= 1
    assert actors_that_fit(nodes, pool) >= pool.actors
    assert pool.cpus_per_load_task > 0
    if pool.device == "cuda":
        assert any(n.cpus - n.gpus * pool.cpus_per_actor >= pool.cpus_per_load_task for n in nodes)


@given(NODES, st.integers(1, 12))
def test_a_number_of_actors_is_refused_or_fits(nodes, actors):
    try:
        pool = fit_pool(nodes, "cpu", actors)
    except ClusterError:
        assert actors > 2 * sum(node.cpus for node in nodes)
        return
    assert pool.actors == actors
    assert sum(node.cpus for node in nodes) >= pool.actors * pool.cpus_per_actor
    assert pool.cpus_per_actor <= max(node.cpus for node in nodes)


def test_a_small_head_node_does_not_shrink_the_actors_of_large_workers():
    pool = fit_pool([NodeRoom(cpus=1.0), *[NodeRoom(cpus=64.0)] * 10], "auto", None)
    assert (pool.actors, pool.threads_per_actor) == (80, 8)


def test_one_cpu_beside_each_gpu_leaves_room_to_load():
    pool = fit_pool([NodeRoom(cpus=1.0, gpus=1)] * 2, "auto", None)
    assert (pool.actors, pool.cpus_per_actor, pool.cpus_per_load_task) == (2, 0.25, 0.75)


def test_an_actor_on_a_gpu_has_one_whole_gpu_and_one_on_cpus_has_none():
    pool = fit_pool([NodeRoom(cpus=8.0, gpus=1)], "auto", None)
    assert (pool.device, pool.actors, pool.gpus_per_actor) == ("cuda", 1, 1)
    assert (pool.cpus_per_actor, pool.threads_per_actor, pool.cpus_per_load_task) == (1.0, 1, 1.0)
    assert fit_pool([NodeRoom(cpus=8.0, gpus=1)], "cpu", None).gpus_per_actor == 0
    assert fit_pool([NodeRoom(cpus=8.0, gpus=4)], "auto", 2).actors == 2


def test_as_many_as_two_actors_may_share_a_cpu():
    pool = fit_pool([NodeRoom(cpus=2.0)], "cpu", 4)
    assert (pool.actors, pool.cpus_per_actor, pool.threads_per_actor) == (4, 0.25, 1)


def test_actors_that_share_cores_share_their_threads():
    for cpus, actors, threads in ((1, 1, 1), (2, 2, 1), (8, 2, 4), (64, 16, 4)):
        pool = fit_pool([NodeRoom(cpus=float(cpus))], "cpu", None, actors_per_group=2)
        assert (pool.actors, pool.threads_per_actor) == (actors, threads)


def test_two_cores_hold_one_actor_and_two_load_tasks():
    pool = fit_pool([NodeRoom(cpus=2.0)], "auto", None)
    assert (pool.actors, pool.threads_per_actor, pool.cpus_per_actor) == (1, 2, 1.0)
    assert pool.cpus_per_load_task == 0.5


@pytest.mark.parametrize(
    ("nodes", "device", "actors", "message"),
    [
        ([NodeRoom(cpus=0.0)], "auto", None, "the cluster offers no CPU"),
        ([NodeRoom(cpus=4.0)], "cuda", None, "1 GPU actors were asked for and the cluster has 0 GPUs"),
        ([NodeRoom(cpus=4.0, gpus=1)], "cuda", 3, "3 GPU actors were asked for and the cluster has 1 GPUs"),
        ([NodeRoom(cpus=4.0, gpus=2)] * 3, "cuda", 7, "7 GPU actors were asked for and the cluster has 6 GPUs; use"),
        ([NodeRoom(cpus=2.0)], "cpu", 9, "9 actors were asked for and the cluster has 2 CPUs; ask for at most 4"),
    ],
)
def test_a_job_that_the_cluster_cannot_hold_is_refused(nodes, device, actors, message):
    with pytest.raises(ClusterError, match=message):
        fit_pool(nodes, device, actors)


@pytest.mark.parametrize(
    ("images", "block_rows", "actors"),
    [(1, 64, 1), (64, 64, 1), (65, 64, 2), (60, 10, 4), (600, 8192, 4), (0, 64, 1), (10**6, 8192, 4)],
)
def test_no_actor_is_started_that_would_find_nothing_to_do(images, block_rows, actors):
    pool = fit_pool([NodeRoom(cpus=8.0, gpus=4)], "auto", None)
    assert pool.actors == 4
    assert pool.for_job(images, block_rows).actors == actors


@given(NODES, st.sampled_from([0.25, 0.3, 0.5, 1.0, 2.0]))
def test_actors_that_share_gpus_or_take_several_find_a_node(nodes, num_gpus):
    slots = sum(node.holds(0, num_gpus) for node in nodes)
    if not slots:
        with pytest.raises(ClusterError, match="GPU"):
            fit_pool(nodes, "auto", None, num_gpus=num_gpus)
        return
    pool = fit_pool(nodes, "auto", None, num_gpus=num_gpus)
    assert (pool.device, pool.actors, pool.gpus_per_actor) == ("cuda", slots, num_gpus)
    assert actors_that_fit(nodes, pool) >= pool.actors
    assert pool.on(nodes) == pool.actors


def test_gpus_that_replicas_only_reserve_compute_on_cpus():
    pool = fit_pool([NodeRoom(cpus=8.0, gpus=1)], "cpu", None, num_gpus=1)
    assert (pool.device, pool.actors, pool.gpus_per_actor) == ("cpu", 1, 1)


@pytest.mark.parametrize(
    ("num_gpus", "actors", "message"),
    [
        (2, None, "--num-gpus-per-actor 2 needs a node with 2 GPUs and the largest node of the cluster has 1; ask for"),
        (
            0.5,
            9,
            "9 GPU actors of 0.5 GPU each were asked for and the cluster has 2 GPUs, which hold 4; use --device cpu",
        ),
    ],
)
def test_parts_of_gpus_that_no_node_holds_are_refused(num_gpus, actors, message):
    with pytest.raises(ClusterError, match=message):
        fit_pool([NodeRoom(cpus=4.0, gpus=1)] * 2, "auto", actors, num_gpus=num_gpus)


def planned(monkeypatch, alive, possible, **options):
    monkeypatch.setattr(module, "alive_nodes", lambda: alive)
    monkeypatch.setattr(module, "possible_nodes", lambda for_gpus: possible)
    return plan_pool(**({"device": "auto", "num_actors": None} | options))


def test_a_gpu_that_the_cluster_may_get_is_taken_though_no_node_is_alive(monkeypatch):
    head, gpu = NodeRoom(cpus=0.0), NodeRoom(cpus=8.0, gpus=1)
    pool = planned(monkeypatch, [head], [head, *[gpu] * 3])
    assert (pool.device, pool.actors, pool.most_actors, pool.limit) == ("cuda", 1, 3, None)
    assert not pool.fits_on([head])
    assert pool.fits_on([head, gpu])
    assert planned(monkeypatch, [head, gpu], [head, *[gpu] * 3], device="cuda", num_actors=2).actors == 1
    with pytest.raises(ClusterError, match="4 GPU actors were asked for and the cluster has 3 GPUs"):
        planned(monkeypatch, [head], [head, *[gpu] * 3], num_actors=4)


def test_actors_on_cpus_have_the_size_of_the_nodes_that_may_come(monkeypatch):
    head, large = NodeRoom(cpus=0.0), NodeRoom(cpus=16.0)
    pool = planned(monkeypatch, [head], [head, *[large] * 4])
    assert (pool.actors, pool.most_actors, pool.threads_per_actor, pool.cpus_per_actor) == (1, 8, 8, 4.0)
    assert [pool.on([large] * n) for n in (1, 2, 5)] == [2, 4, 10]
    small = pool.for_job(100, None)
    assert (small.actors, small.most_actors, small.limit) == (1, 2, 2)


@given(NODES, st.integers(1, 12) | st.none(), st.integers(1, 3))
def test_a_cluster_that_starts_no_nodes_gets_the_actors_that_it_always_got(nodes, actors, actors_per_group):
    with pytest.MonkeyPatch.context() as patch:
        options = {"device": "cpu", "num_actors": actors, "actors_per_group": actors_per_group}
        try:
            wanted = fit_pool(nodes, "cpu", actors, actors_per_group)
        except ClusterError:
            return
        assert planned(patch, nodes, nodes, **options) == wanted
