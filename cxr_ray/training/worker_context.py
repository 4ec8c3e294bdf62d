"""Rank and device of a training worker, and its communication with the other workers."""

from dataclasses import dataclass
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerContext:
    """Rank and device of one worker; several workers need an initialised torch process group."""

    rank: int
    """Rank of this worker, 0 to world_size - 1."""
    world_size: int
    """Number of workers."""
    device: torch.device
    """Device on which this worker computes."""

    @property
    def is_first(self) -> bool:
        """Whether this is the worker of rank 0, which writes bundles and reports for all workers."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Collect the `value` of every worker in the order of ranks; every worker receives the list.

        The values are pickled, so they should be small.
        """
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values

    def in_parallel(self, model: torch.nn.Module) -> torch.nn.Module:
        """Wrap `model` so that the gradients of its parameters are averaged over all workers."""
        if self.world_size == 1:
            return model
        devices = [self.device.index or 0] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(model, device_ids=devices)

    def average_buffers(self, model: torch.nn.Module) -> None:
        """Replace each floating-point buffer of `model`, such as batch-norm statistics, by its mean over all workers."""
        if self.world_size > 1:
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    torch.distributed.all_reduce(buffer)
                    buffer.div_(self.world_size)
