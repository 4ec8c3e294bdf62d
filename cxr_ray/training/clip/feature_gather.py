"""Features, and numbers of pairs, of all workers on each of them; features with gradients."""

from typing import Any

import torch

from cxr_ray.training.worker_context import WorkerContext


def gather_features(features: torch.Tensor, context: WorkerContext) -> torch.Tensor:
    """Gather the features of all workers, float [W * B, D], in the order of their ranks.

    Every worker computes the same loss from the result. Each worker's own features get their part of the loss's
    gradient times the number of workers. DistributedDataParallel then averages the gradients of parameters over the
    workers, which gives the gradient of one process with the whole batch.

    Args:
        features: float [B, D] of this worker; B is the same on all workers.
        context: the worker's own.
    """
    if context.world_size == 1:
        return features
    gathered: torch.Tensor = _Gather.apply(features, context)
    return gathered


class _Gather(torch.autograd.Function):
    """The gathering of `gather_features`, with its gradient."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, context: WorkerContext) -> torch.Tensor:
        ctx.worker_context, ctx.rows = context, len(features)
        return gather_rows(features, context)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        start = ctx.worker_context.rank * ctx.rows
        return gradients[0][start : start + ctx.rows] * ctx.worker_context.world_size, None


def gather_rows(rows: torch.Tensor, context: WorkerContext) -> torch.Tensor:
    """Gather a tensor [B, ...] of every worker, of one shape and dtype, as [W * B, ...] in the order of ranks; no gradients."""
    if context.world_size == 1:
        return rows
    everyones = [torch.empty_like(rows) for _ in range(context.world_size)]
    torch.distributed.all_gather(everyones, rows.contiguous())
    return torch.cat(everyones)
