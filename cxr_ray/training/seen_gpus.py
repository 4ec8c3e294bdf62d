"""Refuse nodes that offer GPUs to Ray which torch does not see."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.train.v2._internal.execution.callback import WorkerGroupCallback

from cxr_ray.errors import ClusterError


class SeenGpus(WorkerGroupCallback):
    """Callback of Ray Train's controller that looks for a GPU in each new worker, before NCCL does without naming the node."""

    def before_init_train_context(self, workers: Sequence[Any]) -> dict[str, list[Any]]:
        """Look for a GPU in each of `workers`, which Ray Train has just started.

        Raises:
            ClusterError: if a worker sees none; it names the host of the first one.
        """
        seen = ray.get([worker.execute_async(_sees_gpu) for worker in workers])
        for worker, sees_gpu in zip(workers, seen, strict=True):
            if not sees_gpu:
                raise ClusterError(
                    f"torch sees no GPU on {worker.metadata.hostname}, which offers GPUs to Ray; install NVIDIA's driver and "
                    "a torch with CUDA there, or train without --use-gpu"
                )
        return {}


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
