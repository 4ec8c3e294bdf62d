"""Check, before a submitted job starts, that the cluster has the environment variables that the job needs.

It runs on the cluster as `python -m cxr_ray.cluster.required_variables NAME ...`, and handles names only, never values.
"""

import os
import sys
from collections.abc import Sequence

from cxr_ray.cluster.session import ray_session
from cxr_ray.errors import ClusterError

OF_EVERY_NODE = "AWS_"
"""Beginning of the names that every node needs, because workers read and write the storage; others the driver needs."""


def check_variables(names: Sequence[str]) -> None:
    """Check that variables are set in this process, and those that workers need on every node that is alive.

    Raises:
        ClusterError: if some are not; the message names them, and where they are missing.
    """
    missing = {"the node of the driver": _unset(names)}
    if of_workers := [name for name in names if name.startswith(OF_EVERY_NODE)]:
        with ray_session():
            missing |= _unset_by_node(of_workers)
    found = [f"{', '.join(unset)} on {node}" for node, unset in missing.items() if unset]
    if found:
        raise ClusterError(f"not set: {'; '.join(found)}; set them where ray start runs, and start those nodes again")


def _unset(names: Sequence[str]) -> list[str]:
    return [name for name in names if not os.environ.get(name)]


def _unset_by_node(names: Sequence[str]) -> dict[str, list[str]]:
    """Names of variables that are not set, by address of the node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(_unset)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    asked = [look.options(scheduling_strategy=place).remote(names) for place in places]
    return {node["NodeManagerAddress"]: unset for node, unset in zip(nodes, ray.get(asked), strict=True)}


if __name__ == "__main__":
    try:
        check_variables(sys.argv[1:])
    except ClusterError as error:
        sys.exit(f"error: {error}")
