"""The groups of nodes that the autoscaler of a Ray cluster may start, with their sizes and their maximum numbers.

Ray keeps a cluster configuration for this purpose, but its own autoscalers do not fill it in (Ray 2.60). Where it is
empty, the groups are read where the autoscaler itself reads them: in the RayCluster of KubeRay, or in the file with
which `ray start --autoscaling-config` (the cluster launcher) started the autoscaler on the head node.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger("cxr_ray")

MOST_OF_A_GROUP = 1000
"""Number of nodes that stands for a group without a maximum."""
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""File in a pod that names its Kubernetes namespace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeGroup:
    """Nodes of one kind that an autoscaler starts."""

    resources: dict[str, float]
    """What one node offers, by Ray's names, such as `CPU`, `GPU` and `memory`."""
    most: int
    """Maximum number of nodes of the group."""


def node_groups() -> list[NodeGroup]:
    """List the groups of nodes that the cluster's autoscaler may start; none if the cluster has no autoscaler."""
    from ray._private import state

    reported = state.state.get_cluster_config()
    if reported is not None and reported.node_group_configs:
        return [_group(dict(group.resources), group.max_count) for group in reported.node_group_configs]
    config = _config_on_head()
    return groups_of(config) if config else []


def groups_of(config: dict[str, Any]) -> list[NodeGroup]:
    """List the groups of the workers in an autoscaler's configuration, as the cluster launcher and KubeRay write it.

    A group without a maximum has that of the whole cluster.
    """
    total = config.get("max_workers", MOST_OF_A_GROUP)
    kinds = {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}
    return [_group(kind.get("resources", {}), min(kind.get("max_workers", total), total)) for kind in kinds.values()]


def _group(resources: dict[str, float], most: int) -> NodeGroup:
    return NodeGroup(resources=resources, most=MOST_OF_A_GROUP if most < 0 else min(most, MOST_OF_A_GROUP))


def _config_on_head() -> dict[str, Any] | None:
    """Read the autoscaler's configuration on the head node, by a task where this process runs on another node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    context = ray.get_runtime_context()
    heads = [node["NodeID"] for node in ray.nodes() if node["Alive"] and "node:__internal_head__" in node["Resources"]]
    if not heads or context.get_node_id() in heads:
        return autoscaler_config(context.gcs_address)
    there = NodeAffinitySchedulingStrategy(heads[0], soft=False)
    task = ray.remote(num_cpus=0, scheduling_strategy=there)(autoscaler_config)
    config: dict[str, Any] | None = ray.get(task.remote(context.gcs_address))
    return config


def autoscaler_config(gcs_address: str) -> dict[str, Any] | None:
    """Read the configuration of the autoscaler that works for the cluster at `gcs_address`; call it on the head node.

    Returns:
        The configuration in the form of the cluster launcher; None if the cluster has no autoscaler.
    """
    if "RAY_CLUSTER_NAME" in os.environ and NAMESPACE.exists():
        return _kuberay_config(os.environ["RAY_CLUSTER_NAME"], NAMESPACE.read_text().strip())
    path = _launcher_file(gcs_address)
    if path is None:
        return None
    import yaml

    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def _kuberay_config(name: str, namespace: str) -> dict[str, Any] | None:
    """Derive the configuration from the RayCluster `name`; None if its autoscaling is off, or it cannot be read.

    KubeRay gives the head's pod the right to read its RayCluster only where autoscaling is on.
    """
    import requests
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    try:
        cluster = KubernetesHttpApiClient(namespace).get(f"rayclusters/{name}")
    except requests.RequestException as error:
        refused = error.response is not None and error.response.status_code in (401, 403)
        if not refused:
            log.warning("Kubernetes does not name the groups of nodes (%s); nodes that are alive are counted", error)
        return None
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return None
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(cluster)
    return config


def _launcher_file(gcs_address: str) -> Path | None:
    """Find the file on the command line of the autoscaler's process on this machine that belongs to the cluster."""
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_text(errors="replace").split("\0") if process.name.isdigit() else []
        except OSError:  # the process has ended, or belongs to another user
            continue
        given = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if given.get("--gcs-address") == gcs_address and "--autoscaling-config" in given:
            return Path(given["--autoscaling-config"]).expanduser()
    return None
