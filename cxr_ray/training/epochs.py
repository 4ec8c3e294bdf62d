"""Training steps of one epoch and the forward pass of validation, on one worker and without Ray."""

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
    """Train on batches, and return the mean loss over all images and the number of images.

    Args:
        model: model in training mode; gradients accumulate in its parameters.
        batches: pairs (inputs, targets) of B images each. B should be constant, because an image of a smaller batch has
            more weight in its step.
        criterion: function of the model's outputs and the targets that returns the mean loss.
        autocast: function that returns the mixed-precision context of the forward pass.
        step: function of the step's number (the first is 0) that updates the model by its gradients and clears them.
        accumulate: number of batches per step; workers exchange gradients only at the last batch of a step.
    """
    total, seen, number = torch.zeros(()), 0, 0
    while group := list(islice(batches, accumulate)):
        for position, (inputs, targets) in enumerate(group):
            with _gradient_exchange(model, position == len(group) - 1):
                with autocast():
                    loss = criterion(model(inputs), targets)
                (loss / len(group)).backward()
            # the sum stays on the device until the epoch ends, because reading it would make every step wait for the GPU
            total = total.to(loss.device) + loss.detach() * len(inputs)
            seen += len(inputs)
        step(number)
        number += 1
    return float(total) / max(seen, 1), seen


def _gradient_exchange(model: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Context in which gradients are averaged over workers only if `is_last`, that is, at the last batch of a step."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not is_last else nullcontext()


@torch.inference_mode()
def predict_logits(model: nn.Module, inputs: torch.Tensor, *, autocast: AutocastFactory) -> torch.Tensor:
    """Compute logits float32 [B, C] on the CPU for inputs of B images; `model` must be in evaluation mode."""
    with autocast():
        return model(inputs).float().cpu()
