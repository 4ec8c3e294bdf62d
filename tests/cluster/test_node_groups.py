"""The groups of nodes of an autoscaler, from what the cluster launcher and KubeRay keep."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from cxr_ray.cluster.node_groups import MOST_OF_A_GROUP, NodeGroup, autoscaler_config, groups_of
from tests.cluster.autoscaled_cluster import autoscaling_config


def pod(cpu, **limits):
    resources = {"cpu": cpu, "memory": "4Gi"} | limits
    return {"spec": {"containers": [{"name": "ray", "resources": {"limits": resources, "requests": resources}}]}}


def test_the_groups_of_the_cluster_launcher():
    groups = {"cpu": {"resources": {"CPU": 8}, "most": 3}, "gpu": {"resources": {"CPU": 4, "GPU": 1}, "most": 2}}
    config = autoscaling_config("head:6379", groups)
    cpu, gpu = NodeGroup(resources={"CPU": 8}, most=3), NodeGroup(resources={"CPU": 4, "GPU": 1}, most=2)
    assert groups_of(config) == [cpu, gpu]
    assert [group.most for group in groups_of(config | {"max_workers": 2})] == [2, 2]
    config["available_node_types"]["gpu"]["max_workers"] = -1
    assert groups_of(config | {"max_workers": 10**6})[1].most == MOST_OF_A_GROUP


def test_the_groups_of_kuberay():
    spec = {
        "enableInTreeAutoscaling": True,
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": pod("1")},
        "workerGroupSpecs": [
            {
                "groupName": "gpu",
                "replicas": 0,
                "minReplicas": 0,
                "maxReplicas": 4,
                "rayStartParams": {},
                "template": pod("8", **{"nvidia.com/gpu": "2"}),
            }
        ],
    }
    config = _derive_autoscaling_config_from_ray_cr({"metadata": {"name": "c", "namespace": "n"}, "spec": spec})
    (group,) = groups_of(config)
    assert (group.resources["CPU"], group.resources["GPU"], group.most) == (8, 2, 4)


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "10.0.0.2:6379"])
def test_the_file_is_that_of_the_autoscaler_of_this_cluster(tmp_path, address):
    config = autoscaling_config("10.0.0.1:6379", {"cpu": {"resources": {"CPU": 8}, "most": 3}})
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    line = [sys.executable, "-c", "import time; time.sleep(60)"]
    words = ["--gcs-address=10.0.0.1:6379", f"--autoscaling-config={file}"]
    autoscaler = subprocess.Popen([*line, *words])
    try:
        while not Path(
            f"/proc/{autoscaler.pid}/cmdline"
        ).read_bytes():  # the kernel fills it in while the program begins
            time.sleep(0.01)
        assert autoscaler_config(address) == (config if address == "10.0.0.1:6379" else None)
    finally:
        autoscaler.kill()
        autoscaler.wait()
