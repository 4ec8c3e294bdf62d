"""Batches that are made ready while the step before them is computed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from cxr_ray.training.batch import Batch


def ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches of `batches`; for a GPU a thread stacks the next one in pinned memory meanwhile.

    Its pixels are then a tensor, which is copied to the GPU without a wait. On a CPU nothing changes: the thread would
    take from the step what it gains.
    """
    return in_advance(batches) if device.type == "cuda" else batches


def in_advance(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the batches of `batches`, one of which a thread has always taken ahead.

    Their pixels are tensors, in pinned memory if there is a GPU. An error of `batches` is raised at its place.
    """
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(_next_pinned, batches)
        while (batch := following.result()) is not None:
            following = thread.submit(_next_pinned, batches)
            yield batch


def _next_pinned(batches: Iterator[Batch]) -> Batch | None:
    batch = next(batches, None)
    if batch is None:
        return None
    pixels = torch.as_tensor(batch.pixels)
    return batch._replace(pixels=pixels.pin_memory() if torch.cuda.is_available() else pixels)
