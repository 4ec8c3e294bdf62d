"""Fitting a scoring job to what the cluster has, before anything is scheduled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cxr_ray.cluster.nodes import NodeRoom, alive_nodes
from cxr_ray.errors import ClusterError

THREADS_PER_CPU_ACTOR = 8
IMAGES_PER_ACTOR = 64  # the smallest block that a job plans unless --rows-per-block is given


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringPool:
    """How a job is laid over the cluster. The CPU figures are Ray's reservations, not limits."""

    device: str
    """`cuda` or `cpu`."""
    actors: int
    cpus_per_actor: float
    threads_per_actor: int
    cpus_per_load_task: float
    """Download, decoding and resizing run in tasks of their own beside the actors."""

    @property
    def gpus_per_actor(self) -> int:
        """One whole GPU, or none."""
        return 1 if self.device == "cuda" else 0

    def for_job(self, images: int, block_rows: int) -> "ScoringPool":
        """This pool without the actors that would load their models and then find nothing to do.

        Args:
            images: number of images in the job.
            block_rows: images per block; an actor may find work in each block, and in every 64 images of a larger one.
        """
        per_actor = min(block_rows, IMAGES_PER_ACTOR)
        return replace(self, actors=max(1, min(self.actors, -(-images // per_actor))))


def plan_pool(device: str, num_actors: int | None, actors_per_group: int = 1) -> ScoringPool:
    """A pool that the cluster can hold as it is now.

    On GPUs an actor each; on CPUs `actors_per_group` per 8 cores of a node, which leave half their reservation to the
    load tasks (decoding takes a few percent of what a forward pass takes on the same cores). Two of them, whose threads
    together are the cores, keep these busy where there is much to do in one thread after the forward pass.

    Raises:
        ClusterError: if what is asked for exceeds the cluster, which would otherwise wait for ever.
    """
    return fit_pool(alive_nodes(), device, num_actors, actors_per_group)


def fit_pool(nodes: Sequence[NodeRoom], device: str, num_actors: int | None, actors_per_group: int = 1) -> ScoringPool:
    """See `plan_pool`."""
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
    # Decoding is what keeps GPUs waiting, so the actors, whose CPU work is light, reserve little.
    cpus_per_actor = _floor_to_hundredths(min(1.0, *(node.cpus / (4 * node.gpus) for node in nodes if node.gpus)))
    most_left = max(node.cpus - node.gpus * cpus_per_actor for node in nodes)
    return ScoringPool(
        device="cuda",
        actors=actors,
        cpus_per_actor=cpus_per_actor,
        threads_per_actor=1,
        cpus_per_load_task=_floor_to_hundredths(min(1.0, most_left)),
    )


def _cpu_pool(nodes: Sequence[NodeRoom], num_actors: int | None, actors_per_group: int) -> ScoringPool:
    cpus, largest = sum(node.cpus for node in nodes), max(node.cpus for node in nodes)
    threads = max(1, min(THREADS_PER_CPU_ACTOR, math.floor(largest)) // actors_per_group)
    actors = num_actors or max(1, sum(math.floor(node.cpus / threads) for node in nodes))
    if actors > 2 * cpus:
        raise ClusterError(
            f"{actors} actors were asked for and the cluster has {cpus:g} CPUs; ask for at most {math.floor(2 * cpus)}"
        )
    share = min(threads, cpus / actors, largest)
    return ScoringPool(
        device="cpu",
        actors=actors,
        cpus_per_actor=_floor_to_hundredths(share / 2),
        threads_per_actor=max(1, math.floor(share)),
        cpus_per_load_task=min(1.0, largest / 4),
    )


def _floor_to_hundredths(cpus: float) -> float:
    """Rounded down, so that the sum over actors still fits."""
    return math.floor(cpus * 100) / 100
