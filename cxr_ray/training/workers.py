"""Number of training workers that fit on the nodes of the cluster, and the CPUs and GPUs of each worker."""

import logging
import math
from collections.abc import Sequence

from ray.train import ScalingConfig
from ray.util.placement_group import placement_group, remove_placement_group

from cxr_ray.cluster.nodes import NodeRoom, possible_nodes
from cxr_ray.cluster.patience import Patience, amount
from cxr_ray.config.training import TrainingJobConfig
from cxr_ray.errors import ClusterError

log = logging.getLogger("cxr_ray")

LOOK_SECONDS = 3
"""Seconds between two looks whether the workers fit."""
LOOKS_PER_LINE = 20
"""Number of looks for each line about waiting."""


def scaling_of(config: TrainingJobConfig, *, streams_images: bool) -> tuple[ScalingConfig, int]:
    """Choose the number and resources of the workers for the cluster, and the torch threads of each worker.

    The cluster counts with the nodes that its autoscaler may add.

    Args:
        config: config with the number of workers, and whether they use GPUs.
        streams_images: reserve only half of a worker's CPUs, because the other half decodes images during the training.

    Raises:
        ClusterError: if the minimum number of workers does not fit, or if their number could grow until no CPU is left to
            decode the stream; Ray would wait forever in both cases.
    """
    minimum, maximum = config.worker_range
    if streams_images and minimum < maximum and not config.use_gpu:
        raise ClusterError(
            f"--num-workers {config.num_workers} on CPUs could leave no CPU to decode the stream; "
            f"give one number, such as --num-workers {minimum}"
        )
    nodes = possible_nodes(for_gpus=config.use_gpu)
    present = min(maximum, max(minimum, int(sum(n.gpus if config.use_gpu else n.cpus for n in nodes))))
    workers = present if minimum < maximum else minimum
    cpus = cpus_per_worker(nodes, workers, use_gpu=config.use_gpu, minimum=minimum)
    return (
        ScalingConfig(
            num_workers=minimum if minimum == maximum else (minimum, maximum),
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": cpus / 2 if streams_images else cpus} | ({"GPU": 1} if config.use_gpu else {}),
        ),
        cpus,
    )


def cpus_per_worker(nodes: Sequence[NodeRoom], workers: int, *, use_gpu: bool, minimum: int) -> int:
    """Maximum number of whole CPUs per worker with which `workers` workers fit, or as many as possible if not all fit.

    A worker runs on one node. With a GPU it gets no more CPUs than its node has per GPU, so that other workers can use the
    node's other GPUs.

    Args:
        nodes: CPUs and GPUs of each node.
        workers: number of workers that should fit.
        use_gpu: whether each worker needs a GPU.
        minimum: number of workers that must fit.

    Raises:
        ClusterError: if `minimum` workers do not fit even with one CPU each.
    """
    per_worker = [node.cpus / node.gpus for node in nodes if node.gpus] if use_gpu else [node.cpus for node in nodes]
    maximum = max(1, math.floor(max(per_worker, default=0)))
    for count in range(workers, minimum - 1, -1):
        for cpus in range(maximum, 0, -1):
            if use_gpu and not leaves_other_gpus(nodes, cpus):
                continue
            if worker_slots(nodes, cpus, use_gpu=use_gpu) >= count:
                return cpus
    gpus = sum(node.gpus for node in nodes)
    if use_gpu and gpus < minimum:
        raise ClusterError(
            f"--use-gpu with --num-workers {minimum} needs {minimum} GPUs and the cluster has {gpus}; ask for fewer workers"
        )
    total = sum(math.floor(node.cpus) for node in nodes)
    raise ClusterError(
        f"--num-workers {minimum} needs {minimum} CPUs{' in addition to GPUs' if use_gpu else ''} and the cluster has {total}; "
        "ask for fewer workers"
    )


def leaves_other_gpus(nodes: Sequence[NodeRoom], cpus: int) -> bool:
    """Whether each GPU of every node that can hold a worker of `cpus` CPUs could have as many; a single CPU always may be.

    Ray chooses the node, so that no node may be too small for a worker on each of its GPUs.
    """
    return cpus == 1 or all(node.gpus * cpus <= node.cpus for node in nodes if node.gpus and node.cpus >= cpus)


def worker_slots(nodes: Sequence[NodeRoom], cpus: int, *, use_gpu: bool) -> int:
    """Number of workers that fit on the nodes with `cpus` CPUs each and, if `use_gpu`, with one GPU each."""
    by_cpu = [math.floor(node.cpus / cpus) for node in nodes]
    return sum(min(held, node.gpus) if use_gpu else held for held, node in zip(by_cpu, nodes, strict=True))


def patience_for(scaling: ScalingConfig, config: TrainingJobConfig) -> Patience:
    """How long a training waits for room for its minimum number of workers, which have the resources of `scaling`."""
    minimum, _ = config.worker_range
    needed = scaling.resources_per_worker or {}
    wanted = amount(minimum * needed.get("CPU", 0), minimum * needed.get("GPU", 0))
    return Patience(
        config.max_wait_minutes,
        wanted=f"{wanted} for {minimum} worker{'s' if minimum > 1 else ''}",
        fix="look at `ray status` and at the quota of the group of nodes, ask for fewer workers",
    )


def await_workers(scaling: ScalingConfig, config: TrainingJobConfig) -> None:
    """Wait until the minimum number of workers fits beside the cluster's other work, and log it every minute.

    Ray Train waits as well, without a word and without an end. The request lets an autoscaler start nodes.

    Args:
        scaling: resources of the workers.
        config: config with the minimum number of workers, and the minutes that it may wait.

    Raises:
        ClusterError: if no nodes come with room for the workers in time.
    """
    minimum, _ = config.worker_range
    patience = patience_for(scaling, config)
    group = placement_group([dict(scaling.resources_per_worker or {})] * minimum)
    try:
        looks = 0
        while not group.wait(LOOK_SECONDS):
            patience.note(is_waiting=True)
            if looks % LOOKS_PER_LINE == 0:
                log.info(patience.said())
            looks += 1
    finally:
        remove_placement_group(group)
