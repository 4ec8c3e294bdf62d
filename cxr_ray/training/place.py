"""Where a worker stands, and what it is handed."""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

T = TypeVar("T")


class Batch(NamedTuple):
    """Some images of a split."""

    positions: np.ndarray
    """int64 [B], within the split."""
    pixels: np.ndarray
    """uint8 [B, S, S]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where among the workers this one stands, and its device."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this worker speaks for all."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every worker's `value`, in the order of their ranks, on each of them; pickled, so meant for small things."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values

    def in_parallel(self, model: torch.nn.Module) -> torch.nn.Module:
        """`model` with the gradients of its parameters averaged over all workers."""
        if self.world_size == 1:
            return model
        devices = [self.device.index or 0] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(model, device_ids=devices)

    def average_buffers(self, model: torch.nn.Module) -> None:
        """Let all workers have the mean of their models' buffers, such as the statistics of batch normalisation."""
        if self.world_size > 1:
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    torch.distributed.all_reduce(buffer)
                    buffer.div_(self.world_size)
