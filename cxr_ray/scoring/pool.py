"""Choose the number of actors and their CPUs and GPUs to fit the cluster, before a task is scheduled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cxr_ray.cluster.nodes import NodeRoom, alive_nodes
from cxr_ray.errors import ClusterError

THREADS_PER_CPU_ACTOR = 8  # maximum number of torch threads of an actor on CPUs
IMAGES_PER_ACTOR = 64  # the fewest images for which an actor is started, unless --rows-per-block is smaller


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringPool:
    """The actors of a job and what they reserve; Ray's reservations of CPUs do not limit their use."""

    device: str
    """`cuda` or `cpu`."""
    actors: int
    """Number of actors that hold the models."""
    cpus_per_actor: float
    """Number of CPUs that an actor reserves."""
    threads_per_actor: int
    """Number of torch threads of an actor on CPUs."""
    cpus_per_load_task: float
    """Number of CPUs that a task reserves which downloads, decodes and resizes images."""
    load_slots: int
    """Number of such tasks that run at the same time."""

    @property
    def gpus_per_actor(self) -> int:
        """Number of GPUs that an actor reserves: 1 if the device is `cuda`, else 0."""
        return 1 if self.device == "cuda" else 0

    def for_job(self, images: int, rows_per_block: int | None) -> "ScoringPool":
        """Return this pool without the actors that a small job cannot keep busy.

        Args:
            images: number of images that are left to score.
            rows_per_block: number of images of a block that the user chose; there is work for one actor per 64 images,
                or per block if a block is smaller.
        """
        per_actor = min(rows_per_block or IMAGES_PER_ACTOR, IMAGES_PER_ACTOR)
        return replace(self, actors=max(1, min(self.actors, -(-images // per_actor))))


def plan_pool(device: str, num_actors: int | None, actors_per_group: int = 1) -> ScoringPool:
    """Plan a pool that fits the nodes that are alive now in the cluster.

    Each GPU gets one actor. On CPUs, each group of 8 cores of a node gets `actors_per_group` actors. They reserve half
    of the cores and leave the other half to the load tasks, because decoding takes only a few percent of the time of a
    forward pass. With two actors per group, one computes while the other cleans up its masks in a single thread.

    Args:
        device: `cuda`, `cpu`, or `auto`, which takes GPUs if the cluster has any.
        num_actors: number of actors; None uses the whole cluster.
        actors_per_group: number of actors that share up to 8 cores of a node, 1 or more.

    Raises:
        ClusterError: if the cluster has no CPU or fewer GPUs or CPUs than the actors need; Ray would wait for ever.
    """
    return fit_pool(alive_nodes(), device, num_actors, actors_per_group)


def fit_pool(nodes: Sequence[NodeRoom], device: str, num_actors: int | None, actors_per_group: int = 1) -> ScoringPool:
    """Plan a pool that fits `nodes`; the other arguments, the result and the error are those of `plan_pool`."""
    gpus = sum(node.gpus for node in nodes)
    if sum(node.cpus for node in nodes) <= 0:
        raise ClusterError("the cluster offers no CPU; add a worker node with CPUs to load and decode images")
    chosen = device if device != "auto" else ("cuda" if gpus else "cpu")
    if chosen == "cuda":
        return _gpu_pool(nodes, gpus, num_actors or gpus)
    return _cpu_pool(nodes, num_actors, actors_per_group)


def _gpu_pool(nodes: Sequence[NodeRoom], gpus: int, actors: int) -> ScoringPool:
    if actors < 1 or actors > gpus:
        raise ClusterError(
            f"{max(actors, 1)} GPU actors were asked for and the cluster has {gpus} GPUs; "
            "use --device cpu or add GPU nodes"
        )
    # GPUs wait for decoding, so the actors, which need little CPU time, reserve few CPUs.
    cpus_per_actor = _floor_to_hundredths(min(1.0, *(node.cpus / (4 * node.gpus) for node in nodes if node.gpus)))
    max_left = max(node.cpus - node.gpus * cpus_per_actor for node in nodes)
    cpus_per_load_task = _floor_to_hundredths(min(1.0, max_left))
    return ScoringPool(
        device="cuda",
        actors=actors,
        cpus_per_actor=cpus_per_actor,
        threads_per_actor=1,
        cpus_per_load_task=cpus_per_load_task,
        load_slots=_load_slots(nodes, actors * cpus_per_actor, cpus_per_load_task),
    )


def _cpu_pool(nodes: Sequence[NodeRoom], num_actors: int | None, actors_per_group: int) -> ScoringPool:
    cpus, largest = sum(node.cpus for node in nodes), max(node.cpus for node in nodes)
    threads = max(1, min(THREADS_PER_CPU_ACTOR, math.floor(largest)) // actors_per_group)
    actors = num_actors or max(1, sum(math.floor(node.cpus / threads) for node in nodes))
    if actors > 2 * cpus:
        raise ClusterError(
            f"{actors} actors were asked for and the cluster has {cpus:g} CPUs; ask for at most {math.floor(2 * cpus)}"
        )
    cpus_of_actor = min(threads, cpus / actors, largest)
    cpus_per_actor, cpus_per_load_task = _floor_to_hundredths(cpus_of_actor / 2), min(1.0, largest / 4)
    return ScoringPool(
        device="cpu",
        actors=actors,
        cpus_per_actor=cpus_per_actor,
        threads_per_actor=max(1, math.floor(cpus_of_actor)),
        cpus_per_load_task=cpus_per_load_task,
        load_slots=_load_slots(nodes, actors * cpus_per_actor, cpus_per_load_task),
    )


def _load_slots(nodes: Sequence[NodeRoom], cpus_of_actors: float, cpus_per_load_task: float) -> int:
    """Number of load tasks that fit the CPUs which the actors leave."""
    return max(1, math.floor((sum(node.cpus for node in nodes) - cpus_of_actors) / cpus_per_load_task))


def _floor_to_hundredths(cpus: float) -> float:
    """Round a number of CPUs down to hundredths, so that the sum over all actors still fits the cluster."""
    return math.floor(cpus * 100) / 100
