"""Fitting a scoring job to what the cluster has, before anything is scheduled."""

import math
from dataclasses import dataclass

from cxr_ray.errors import ClusterError

THREADS_PER_CPU_ACTOR = 8


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


def plan_pool(device: str, num_actors: int | None) -> ScoringPool:
    """A pool that the cluster can hold as it is now.

    On GPUs an actor each; on CPUs an actor per 8 cores, which leave half their reservation to the load tasks
    (decoding takes a few percent of what a forward pass takes on the same cores).

    Raises:
        ClusterError: if what is asked for exceeds the cluster, which would otherwise wait for ever.
    """
    import ray

    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), int(total.get("GPU", 0))
    if cpus <= 0:
        raise ClusterError("the cluster offers no CPU; add a worker node with CPUs to load and decode images")
    chosen = device if device != "auto" else ("cuda" if gpus else "cpu")
    if chosen == "cuda":
        return _gpu_pool(num_actors or gpus, gpus, cpus)
    smallest = min(
        node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")
    )
    return _cpu_pool(num_actors, cpus, max(1, min(THREADS_PER_CPU_ACTOR, math.floor(smallest))))


def _gpu_pool(actors: int, gpus: int, cpus: float) -> ScoringPool:
    if actors < 1 or actors > gpus:
        raise ClusterError(
            f"{max(actors, 1)} GPU actors were asked for and the cluster has {gpus} GPUs; "
            "use --device cpu or add GPU nodes"
        )
    # Decoding is what keeps GPUs waiting, so the actors, whose CPU work is light, reserve little.
    cpus_per_actor = min(1.0, cpus / (4 * actors))
    return ScoringPool(
        device="cuda",
        actors=actors,
        cpus_per_actor=round(cpus_per_actor, 3),
        threads_per_actor=1,
        cpus_per_load_task=1.0 if cpus - actors * cpus_per_actor >= 1 else 0.5,
    )


def _cpu_pool(num_actors: int | None, cpus: float, threads: int) -> ScoringPool:
    actors = num_actors or max(1, math.floor(cpus / threads))
    if actors > 2 * cpus:
        raise ClusterError(
            f"{actors} actors were asked for and the cluster has {cpus:g} CPUs; ask for at most {math.floor(2 * cpus)}"
        )
    return ScoringPool(
        device="cpu",
        actors=actors,
        cpus_per_actor=min(threads, cpus / actors) / 2,
        threads_per_actor=max(1, math.floor(min(threads, cpus / actors))),
        cpus_per_load_task=min(1.0, cpus / 4),
    )
