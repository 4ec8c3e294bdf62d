"""Fitting training workers to the cluster's nodes."""

import math
from collections.abc import Sequence

from ray.train import ScalingConfig

from cxr_ray.cluster.nodes import NodeRoom, alive_nodes
from cxr_ray.config.training import TrainingJobConfig
from cxr_ray.errors import ClusterError


def scaling_of(config: TrainingJobConfig, *, shares_cpus: bool) -> tuple[ScalingConfig, int]:
    """How Ray Train lays the workers over the cluster as it is now, and the threads of each.

    Args:
        config: number of workers, GPUs.
        shares_cpus: reserve half of a worker's CPUs only, because images are decoded on the others meanwhile.

    Raises:
        ClusterError: if the least number of workers does not fit, or they could grow until nothing is left to decode
            their stream; for either Ray would wait for ever.
    """
    least, most = config.worker_range
    if shares_cpus and least < most and not config.use_gpu:
        raise ClusterError(
            f"--num-workers {config.num_workers} on CPUs would leave none to decode the stream; name one number"
        )
    nodes = alive_nodes()
    present = min(most, max(least, int(sum(n.gpus if config.use_gpu else n.cpus for n in nodes))))
    cpus = cpus_per_worker(nodes, present if least < most else least, use_gpu=config.use_gpu, least=least)
    return (
        ScalingConfig(
            num_workers=least if least == most else (least, most),
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": cpus / 2 if shares_cpus else cpus} | ({"GPU": 1} if config.use_gpu else {}),
        ),
        cpus,
    )


def cpus_per_worker(nodes: Sequence[NodeRoom], workers: int, *, use_gpu: bool, least: int) -> int:
    """The most whole CPUs with which `workers` workers fit on single nodes, or `least` workers if not all do.

    With GPUs no more than a GPU's share of its node, so that its others stay of use.

    Raises:
        ClusterError: if not even `least` workers of one CPU fit.
    """
    shares = [node.cpus / node.gpus for node in nodes if node.gpus] if use_gpu else [node.cpus for node in nodes]
    most = max(1, math.floor(max(shares, default=0)))
    for count in range(workers, least - 1, -1):
        for cpus in range(most, 0, -1):
            if worker_slots(nodes, cpus, use_gpu=use_gpu) >= count:
                return cpus
    gpus = sum(node.gpus for node in nodes)
    if use_gpu and gpus < least:
        raise ClusterError(f"--use-gpu with --num-workers {least} needs {least} GPUs and the cluster has {gpus}")
    total = sum(math.floor(node.cpus) for node in nodes)
    raise ClusterError(
        f"--num-workers {least} needs {least} CPUs{' beside their GPUs' if use_gpu else ''} and the cluster has {total}; "
        "ask for fewer"
    )


def worker_slots(nodes: Sequence[NodeRoom], cpus: int, *, use_gpu: bool) -> int:
    """Workers of `cpus` CPUs, and a GPU each where asked for, that the nodes hold together."""
    by_cpu = [math.floor(node.cpus / cpus) for node in nodes]
    return sum(min(held, node.gpus) if use_gpu else held for held, node in zip(by_cpu, nodes, strict=True))
