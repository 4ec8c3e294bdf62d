"""The numbers of CPUs and GPUs of the nodes of a Ray cluster: of those that are alive, and of those that may be added."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cxr_ray.cluster.node_groups import NodeGroup, node_groups


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeRoom:
    """The numbers of CPUs and GPUs of one node.

    A task or an actor must fit on one node; the sum over the cluster does not help it.
    """

    cpus: float
    gpus: int = 0

    def holds(self, cpus: float, gpus: float) -> int:
        """Number of actors of `cpus` CPUs and `gpus` GPUs that fit on the node; one of the two numbers must be above 0.

        Ray places an actor of a fraction of a GPU on one GPU, and gives any other actor whole GPUs.
        """
        by_cpus = math.floor(self.cpus / cpus + 1e-9) if cpus else math.inf
        if not gpus:
            return int(by_cpus)
        by_gpus = self.gpus * math.floor(1 / gpus + 1e-9) if gpus < 1 else self.gpus // gpus
        return int(min(by_cpus, by_gpus))


def alive_node_ids() -> set[str]:
    """Ids of the nodes that are alive now."""
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def alive_nodes() -> list[NodeRoom]:
    """List the nodes that are alive now in the cluster that this process has joined."""
    import ray

    return [_room_of(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def possible_nodes(*, for_gpus: bool) -> list[NodeRoom]:
    """List the nodes that are alive now, and those that the cluster's autoscaler may add to them.

    Args:
        for_gpus: False leaves out nodes with GPUs that would have to be started, unless the cluster can start no others:
            work on CPUs shall not pay for them.
    """
    groups = node_groups()
    on_cpus = [group for group in groups if not group.resources.get("GPU")]
    return grown(alive_nodes(), groups if for_gpus else on_cpus or groups)


def grown(alive: Sequence[NodeRoom], groups: Sequence[NodeGroup]) -> list[NodeRoom]:
    """Add to the nodes `alive` those that `groups` may still get; nodes of equal size count as nodes of the group."""
    there, added = Counter(alive), list[NodeRoom]()
    for group in groups:
        room = _room_of(group.resources)
        present = min(there[room], group.most)
        there[room] -= present
        added += [room] * (group.most - present)
    return [*alive, *added]


def _room_of(resources: dict[str, float]) -> NodeRoom:
    return NodeRoom(cpus=resources.get("CPU", 0.0), gpus=int(resources.get("GPU", 0)))
