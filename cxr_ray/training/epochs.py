"""The steps of one epoch, and the forward pass of validation, on one worker; torch alone, without Ray."""

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
    """Train on batches; the mean loss over all images, and the number of images.

    Args:
        model: in training mode already; gradients accumulate in its parameters.
        batches: pairs (inputs of B images, targets) of equal sizes; images of a smaller batch weigh more in a step.
        criterion: mean loss of the model's outputs and the targets.
        autocast: context of mixed precision around the forward pass.
        step: called with the number of the step, from 0, to update the model by its gradients and clear them.
        accumulate: batches of a step; workers exchange gradients only at the last of them.
    """
    total, seen, number = torch.zeros(()), 0, 0
    while group := list(islice(batches, accumulate)):
        for position, (inputs, targets) in enumerate(group):
            with _exchange(model, position == len(group) - 1):
                with autocast():
                    loss = criterion(model(inputs), targets)
                (loss / len(group)).backward()
            total = total.to(loss.device) + loss.detach() * len(
                inputs
            )  # read at the end, so that a GPU does not wait here
            seen += len(inputs)
        step(number)
        number += 1
    return float(total) / max(seen, 1), seen


def _exchange(model: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Context in which gradients are averaged over workers only if the batch is the last of its step."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not is_last else nullcontext()


@torch.inference_mode()
def predict_logits(model: nn.Module, inputs: torch.Tensor, *, autocast: AutocastFactory) -> torch.Tensor:
    """Logits float32 [B, C], on the CPU, of a model that is in evaluation mode already."""
    with autocast():
        return model(inputs).float().cpu()
