"""Gathering of features and of pair numbers from all workers to each worker; features keep their gradients."""

from typing import Any

import torch

from cxr_ray.training.worker_context import WorkerContext


def gather_features(features: torch.Tensor, context: WorkerContext) -> torch.Tensor:
    """Gather the features of all W workers, float [W * B, D], in the order of ranks.

    Every worker computes the same loss from the result. A worker's own features receive their gradient multiplied by W.
    DistributedDataParallel then averages the gradients of parameters over the workers, which gives the gradient that one
    process would compute for the whole batch.

    Args:
        features: features of this worker, float [B, D]; B must be the same on all workers.
        context: rank and device of this worker.
    """
    if context.world_size == 1:
        return features
    gathered: torch.Tensor = _Gather.apply(features, context)
    return gathered


class _Gather(torch.autograd.Function):
    """Autograd function of `gather_features`."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, context: WorkerContext) -> torch.Tensor:
        ctx.worker_context, ctx.rows = context, len(features)
        return gather_rows(features, context)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        start = ctx.worker_context.rank * ctx.rows
        return gradients[0][start : start + ctx.rows] * ctx.worker_context.world_size, None


def gather_rows(rows: torch.Tensor, context: WorkerContext) -> torch.Tensor:
    """Gather a tensor [B, ...] from each of W workers as [W * B, ...] in the order of ranks, without gradients.

    Shape and dtype of `rows` must be the same on all workers.
    """
    if context.world_size == 1:
        return rows
    gathered = [torch.empty_like(rows) for _ in range(context.world_size)]
    torch.distributed.all_gather(gathered, rows.contiguous())
    return torch.cat(gathered)
