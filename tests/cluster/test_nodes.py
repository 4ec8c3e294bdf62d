import os
import subprocess
import sys

import pytest

from cxr_ray.cluster import nodes as module
from cxr_ray.cluster.node_groups import NodeGroup
from cxr_ray.cluster.nodes import NodeRoom, grown, possible_nodes

NODES = """
import ray
from cxr_ray.cluster.nodes import alive_nodes
ray.init("local", num_cpus=3, num_gpus=2, include_dashboard=False, log_to_driver=False)
print(alive_nodes())
"""


@pytest.mark.cluster
def test_the_cpus_and_gpus_of_a_node_are_seen():
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    line = [sys.executable, "-c", NODES]
    seen = subprocess.run(line, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert seen.stdout == "[NodeRoom(cpus=3.0, gpus=2)]\n"


def test_nodes_of_a_group_that_are_alive_count_against_its_maximum():
    small, gpu = NodeRoom(cpus=2.0), NodeRoom(cpus=8.0, gpus=1)
    groups = [NodeGroup(resources={"CPU": 2}, most=3), NodeGroup(resources={"CPU": 8, "GPU": 1, "memory": 1}, most=2)]
    head = NodeRoom(cpus=0.0)
    assert grown([head], groups) == [head, *[small] * 3, *[gpu] * 2]
    assert grown([head, small, gpu, gpu], groups) == [head, small, gpu, gpu, *[small] * 2]
    assert grown([head, *[small] * 5], groups[:1]) == [head, *[small] * 5]
    assert grown([head, small], []) == [head, small]


def test_work_on_cpus_starts_nodes_with_gpus_only_where_there_are_no_others(monkeypatch):
    cpu, gpu = NodeGroup(resources={"CPU": 2}, most=1), NodeGroup(resources={"CPU": 8, "GPU": 1}, most=1)
    monkeypatch.setattr(module, "alive_nodes", list)
    monkeypatch.setattr(module, "node_groups", lambda: [cpu, gpu])
    assert [node.gpus for node in possible_nodes(for_gpus=True)] == [0, 1]
    assert [node.gpus for node in possible_nodes(for_gpus=False)] == [0]
    monkeypatch.setattr(module, "node_groups", lambda: [gpu])
    assert [node.gpus for node in possible_nodes(for_gpus=False)] == [1]


@pytest.mark.parametrize(
    ("cpus", "gpus", "held"), [(1, 1, 4), (1, 0.5, 8), (1, 0.3, 12), (4, 1, 2), (0, 2, 2), (1, 3, 1), (3, 0, 2), (0.01, 5, 0)]
)  # fmt: skip
def test_actors_that_share_gpus_or_take_several_fit_as_ray_places_them(cpus, gpus, held):
    assert NodeRoom(cpus=8.0 if gpus != 0.3 else 16.0, gpus=4).holds(cpus, gpus) == held
