"""The numbers of CPUs and GPUs of the nodes of a Ray cluster."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeRoom:
    """The numbers of CPUs and GPUs of one node.

    A task or an actor must fit on one node; the sum over the cluster does not help it.
    """

    cpus: float
    gpus: int = 0


def alive_node_ids() -> set[str]:
    """Ids of the nodes that are alive now."""
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def alive_nodes() -> list[NodeRoom]:
    """List the nodes that are alive now in the cluster that this process has joined."""
    import ray

    return [
        NodeRoom(cpus=node["Resources"].get("CPU", 0.0), gpus=int(node["Resources"].get("GPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    ]
