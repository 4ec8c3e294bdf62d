"""Features of all workers on each of them, with gradients; and what tells which of them belong together."""

from typing import Any

import torch

from cxr_ray.training.worker_context import WorkerContext


def gather_features(features: torch.Tensor, context: WorkerContext) -> torch.Tensor:
    """Every worker's features, float [W * B, D], in the order of their ranks.

    Every worker computes the same loss from the result. Its gradient comes back to each worker's own rows only, times
    the number of workers: averaged over workers afterwards, as DistributedDataParallel does with the gradients of
    parameters, that is the gradient of one process with the whole batch.

    Args:
        features: float [B, D] of this worker; B is the same on all.
        context: of this worker; with others there is a process group.
    """
    if context.world_size == 1:
        return features
    gathered: torch.Tensor = _Gather.apply(features, context)
    return gathered


class _Gather(torch.autograd.Function):
    """See `gather_features`."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, context: WorkerContext) -> torch.Tensor:
        ctx.context, ctx.rows = context, len(features)
        return gather_rows(features, context)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        start = ctx.context.rank * ctx.rows
        return gradients[0][start : start + ctx.rows] * ctx.context.world_size, None


def gather_rows(rows: torch.Tensor, context: WorkerContext) -> torch.Tensor:
    """Every worker's tensor [B, ...] of one shape and type, [W * B, ...] in the order of their ranks; no gradients."""
    if context.world_size == 1:
        return rows
    everyones = [torch.empty_like(rows) for _ in range(context.world_size)]
    torch.distributed.all_gather(everyones, rows.contiguous())
    return torch.cat(everyones)
