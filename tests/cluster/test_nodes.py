import os
import subprocess
import sys

import pytest

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
