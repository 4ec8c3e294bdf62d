"""One epoch of training, and one of validation, on one worker; plain torch."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import nn

from cxr_ray.models.grey_input import GreyInput
from cxr_ray.training.pixel_cache import PixelCache


def shuffled_batches(count: int, *, batch_size: int, rank: int, world_size: int, seed: int) -> Iterator[np.ndarray]:
    """Positions of this worker's batches in an order drawn by `seed` over all workers.

    Every worker gets the same number of full batches, so that no step waits for a worker that has none; the fewer
    than `world_size * batch_size` images at the end of the order sit this epoch out, unless there are no others.
    """
    order = np.random.default_rng(seed).permutation(count)
    steps = max(1, count // (batch_size * world_size))
    mine = order[rank::world_size]
    for step in range(steps):
        yield mine[step * batch_size : (step + 1) * batch_size]


def train_epoch(
    model: nn.Module,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    *,
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    autocast: Callable[[], AbstractContextManager[object]],
    update: Callable[[torch.Tensor], None],
) -> float:
    """Mean loss over the batches of (inputs float [B, 3, S, S], targets int64 [B]); `update` learns from each."""
    model.train()
    total, seen = 0.0, 0
    for inputs, targets in batches:
        with autocast():
            loss = criterion(model(inputs), targets)
        update(loss)
        total += loss.item() * len(targets)
        seen += len(targets)
    return total / seen


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    batches: Iterator[torch.Tensor],
    *,
    autocast: Callable[[], AbstractContextManager[object]],
) -> torch.Tensor:
    """Logits float32 [N, C] on the CPU, in the order of the batches; an empty tensor if there are none."""
    model.eval()
    outputs = []
    for inputs in batches:
        with autocast():
            outputs.append(model(inputs).float().cpu())
    return torch.cat(outputs) if outputs else torch.empty(0, 0)


class TrainingImages:
    """The images of one split, ready to be drawn as batches on the device.

    Args:
        cache: images.
        targets: int64 [N].
        to_input: pixels to normalised inputs.
    """

    def __init__(self, cache: PixelCache, targets: np.ndarray, to_input: GreyInput) -> None:
        self._cache, self._targets, self._to_input = cache, targets, to_input

    def inputs(self, positions: np.ndarray) -> torch.Tensor:
        """Normalised float32 [B, 3, S, S]."""
        return self._to_input(self._cache.take(positions))

    def augmented(
        self, batches: Iterator[np.ndarray], generator: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs, half of them mirrored left to right (the seed recipe's only augmentation), and targets."""
        for positions in batches:
            inputs = self.inputs(positions)
            flip = torch.rand(len(positions), generator=generator).lt(0.5).view(-1, 1, 1, 1).to(inputs.device)
            yield (
                torch.where(flip, inputs.flip(3), inputs),
                torch.from_numpy(self._targets[positions]).to(inputs.device),
            )
