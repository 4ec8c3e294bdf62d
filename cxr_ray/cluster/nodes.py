"""The CPUs and GPUs that the nodes of the cluster have."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeRoom:
    """CPUs and GPUs of one node. A task or an actor must fit on one node, whatever the sum over the cluster is."""

    cpus: float
    gpus: int = 0


def alive_nodes() -> list[NodeRoom]:
    """The nodes that are alive now in the cluster that this process has joined."""
    import ray

    return [
        NodeRoom(cpus=node["Resources"].get("CPU", 0.0), gpus=int(node["Resources"].get("GPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    ]
