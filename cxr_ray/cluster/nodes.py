"""What the nodes of the cluster offer."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeRoom:
    """What one node offers. A task or actor must fit on one node, whatever the sum over the cluster is."""

    cpus: float
    gpus: int = 0


def alive_nodes() -> list[NodeRoom]:
    """The nodes of the cluster that this process has joined, as they are now."""
    import ray

    return [
        NodeRoom(cpus=node["Resources"].get("CPU", 0.0), gpus=int(node["Resources"].get("GPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    ]
