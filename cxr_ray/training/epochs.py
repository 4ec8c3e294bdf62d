"""One epoch of training, and one of validation, on one worker; plain torch."""

from collections.abc import Callable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

AutocastFactory = Callable[[], AbstractContextManager[object]]
Inputs = TypeVar("Inputs", bound=Sized)
Targets = TypeVar("Targets")


def train_epoch(
    model: nn.Module,
    batches: Iterator[tuple[Inputs, Targets]],
    *,
    criterion: Callable[[Any, Targets], torch.Tensor],
    autocast: AutocastFactory,
    step: Callable[[int], None],
    accumulate: int = 1,
) -> tuple[float, int]:
    """Mean loss over the batches of (inputs of B images, targets), and the images seen.

    Args:
        model: in training mode already; gradients gather in its parameters.
        batches: of equal size, or the loss of a smaller one weighs more.
        criterion: mean loss of what the model makes of the inputs, and the targets.
        autocast: mixed precision around the forward pass.
        step: called with the number of the step (from 0) to take its gradients down.
        accumulate: batches a step; workers exchange gradients at the last one only.
    """
    total, seen, number = torch.zeros(()), 0, 0
    while group := list(islice(batches, accumulate)):
        for position, (inputs, targets) in enumerate(group):
            with _exchange(model, position == len(group) - 1):
                with autocast():
                    loss = criterion(model(inputs), targets)
                (loss / len(group)).backward()
            total = total.to(loss.device) + loss.detach() * len(inputs)  # read at the end: a GPU need not wait here
            seen += len(inputs)
        step(number)
        number += 1
    return float(total) / max(seen, 1), seen


def _exchange(model: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Gradients are averaged over workers only where the block is the last of its step."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not is_last else nullcontext()


@torch.inference_mode()
def predict_logits(model: nn.Module, inputs: torch.Tensor, *, autocast: AutocastFactory) -> torch.Tensor:
    """Logits float32 [B, C] on the CPU; the model is in evaluation mode already."""
    with autocast():
        return model(inputs).float().cpu()
