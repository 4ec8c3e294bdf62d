"""Choose the number of actors and their CPUs and GPUs to fit the cluster, before a task is scheduled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cxr_ray.cluster.nodes import NodeRoom, alive_nodes, possible_nodes
from cxr_ray.cluster.patience import amount
from cxr_ray.errors import ClusterError

THREADS_PER_CPU_ACTOR = 8  # maximum number of torch threads of an actor on CPUs
IMAGES_PER_ACTOR = 64  # the fewest images for which an actor is started, unless --rows-per-block is smaller


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringPool:
    """The actors of a job and what they reserve; Ray's reservations of CPUs do not limit their use."""

    device: str
    """`cuda` or `cpu`."""
    actors: int
    """Number of actors that hold the models, with which the job starts."""
    most_actors: int
    """Number of actors for which the cluster has room when its autoscaler has added all the nodes that it may."""
    cpus_per_actor: float
    """Number of CPUs that an actor reserves."""
    gpus_per_actor: float = 0
    """Number of GPUs that an actor reserves, a fraction of one or a whole number."""
    threads_per_actor: int
    """Number of torch threads of an actor on CPUs."""
    cpus_per_load_task: float
    """Number of CPUs that a task reserves which downloads, decodes and resizes images."""
    load_slots: int
    """Number of such tasks that run at the same time."""
    limit: int | None = None
    """Maximum number of actors that the job can use, however many nodes are added; None if there is none."""

    def for_job(self, images: int, rows_per_block: int | None) -> "ScoringPool":
        """Return this pool without the actors that a small job cannot keep busy.

        Args:
            images: number of images that are left to score.
            rows_per_block: number of images of a block that the user chose; there is work for one actor per 64 images,
                or per block if a block is smaller.
        """
        per_actor = min(rows_per_block or IMAGES_PER_ACTOR, IMAGES_PER_ACTOR)
        limit = max(1, -(-images // per_actor))
        limit = limit if self.limit is None else min(limit, self.limit)
        most = min(self.most_actors, limit)
        return replace(self, actors=min(self.actors, most), most_actors=most, limit=limit)

    def on(self, nodes: Sequence[NodeRoom]) -> int:
        """Number of actors that `nodes` hold beside the tasks that load images for them."""
        loading = 0 if self.gpus_per_actor else self.cpus_per_actor
        return sum(node.holds(self.cpus_per_actor + loading, self.gpus_per_actor) for node in nodes)

    def fits_on(self, nodes: Sequence[NodeRoom]) -> bool:
        """Whether one of `nodes` holds an actor."""
        return any(node.holds(self.cpus_per_actor, self.gpus_per_actor) for node in nodes)


def plan_pool(
    device: str, num_actors: int | None, num_gpus: float | None = None, actors_per_group: int = 1
) -> ScoringPool:
    """Plan a pool that fits the nodes that the cluster has, and those that its autoscaler may add.

    Each GPU gets one actor, or as many as `num_gpus` leaves room for. On CPUs, each group of 8 cores of a node gets
    `actors_per_group` actors. They reserve half of the cores and leave the other half to the load tasks, because decoding
    takes only a few percent of the time of a forward pass. With two actors per group, one computes while the other cleans
    up its masks in a single thread.

    Args:
        device: `cuda`, `cpu`, or `auto`, which takes GPUs if the cluster has any or may get any.
        num_actors: number of actors; None uses the whole cluster.
        num_gpus: number of GPUs that an actor reserves; None means 1 on GPUs, and none on CPUs.
        actors_per_group: number of actors that share up to 8 cores of a node, 1 or more.

    Raises:
        ClusterError: if the cluster has no CPU or fewer GPUs or CPUs than the actors need, and cannot get them; Ray
            would wait for ever.
    """
    nodes, alive = possible_nodes(for_gpus=device != "cpu" or bool(num_gpus)), alive_nodes()
    pool = fit_pool(nodes, device, num_actors, actors_per_group, num_gpus)
    if len(nodes) <= len(alive):
        return pool
    return replace(pool, actors=min(pool.actors, max(1, pool.on(alive))))


def fit_pool(
    nodes: Sequence[NodeRoom],
    device: str,
    num_actors: int | None,
    actors_per_group: int = 1,
    num_gpus: float | None = None,
) -> ScoringPool:
    """Plan a pool that fits `nodes`; the other arguments, the result and the error are those of `plan_pool`."""
    if sum(node.cpus for node in nodes) <= 0:
        raise ClusterError("the cluster offers no CPU; add a worker node with CPUs to load and decode images")
    chosen = device if device != "auto" else ("cuda" if num_gpus or any(node.gpus for node in nodes) else "cpu")
    gpus_per_actor = num_gpus or (1.0 if chosen == "cuda" else 0.0)
    if gpus_per_actor:
        return _gpu_pool(nodes, chosen, num_actors, gpus_per_actor)
    return _cpu_pool(nodes, num_actors, actors_per_group)


def _gpu_pool(nodes: Sequence[NodeRoom], device: str, num_actors: int | None, gpus_per_actor: float) -> ScoringPool:
    slots = [node.holds(0, gpus_per_actor) for node in nodes]
    actors = num_actors or max(1, sum(slots))
    if actors > sum(slots):
        raise _too_few_gpus(nodes, actors, gpus_per_actor, sum(slots))
    # GPUs wait for decoding, so the actors, which need little CPU time, reserve few CPUs.
    per_slot = [node.cpus / (4 * held) for node, held in zip(nodes, slots, strict=True) if held]
    cpus_per_actor = _floor_to_hundredths(min(1.0, *per_slot))
    max_left = max(node.cpus - held * cpus_per_actor for node, held in zip(nodes, slots, strict=True))
    cpus_per_load_task = _floor_to_hundredths(min(1.0, max_left))
    return ScoringPool(
        device=device,
        actors=actors,
        most_actors=actors,
        cpus_per_actor=cpus_per_actor,
        gpus_per_actor=gpus_per_actor,
        threads_per_actor=1,
        cpus_per_load_task=cpus_per_load_task,
        load_slots=_load_slots(nodes, actors * cpus_per_actor, cpus_per_load_task),
        limit=num_actors,
    )


def _too_few_gpus(nodes: Sequence[NodeRoom], actors: int, gpus_per_actor: float, slots: int) -> ClusterError:
    gpus, largest = sum(node.gpus for node in nodes), max(node.gpus for node in nodes)
    if gpus_per_actor > largest > 0:
        return ClusterError(
            f"--num-gpus-per-actor {gpus_per_actor:g} needs a node with {gpus_per_actor:g} GPUs and the largest node of the "
            f"cluster has {largest}; ask for at most {largest}"
        )
    of = "" if gpus_per_actor == 1 else f" of {amount(0, gpus_per_actor)} each"
    holds = f"{gpus} GPUs" if gpus_per_actor == 1 else f"{gpus} GPUs, which hold {slots}"
    return ClusterError(
        f"{actors} GPU actors{of} were asked for and the cluster has {holds}; use --device cpu or add GPU nodes"
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
        most_actors=actors,
        cpus_per_actor=cpus_per_actor,
        threads_per_actor=max(1, math.floor(cpus_of_actor)),
        cpus_per_load_task=cpus_per_load_task,
        load_slots=_load_slots(nodes, actors * cpus_per_actor, cpus_per_load_task),
        limit=num_actors,
    )


def _load_slots(nodes: Sequence[NodeRoom], cpus_of_actors: float, cpus_per_load_task: float) -> int:
    """Number of load tasks that fit the CPUs which the actors leave."""
    return max(1, math.floor((sum(node.cpus for node in nodes) - cpus_of_actors) / cpus_per_load_task))


def _floor_to_hundredths(cpus: float) -> float:
    """Round a number of CPUs down to hundredths, so that the sum over all actors still fits the cluster."""
    return math.floor(cpus * 100) / 100
