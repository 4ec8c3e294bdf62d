"""Optimizer, learning rate and averaged weights: how gradients change the weights."""

from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.learning_rate import cosine_share, peak_learning_rate

PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.5, 7  # of the seed recipe


class Optimization:
    """AdamW with clipped gradients under one of two schedules, and a moving average of the weights if asked for.

    `cosine` is a function of how much of the training is done, so it means the same after a restart with other
    numbers of workers; `plateau` halves the rate after 7 epochs without a better validation loss.

    Args:
        model: its parameters are changed in place.
        config: backbone, rate, schedule, weight decay, clipping and averaging.
        images_per_step: of all workers together.
    """

    def __init__(self, model: nn.Module, config: TrainClassifierConfig, *, images_per_step: int) -> None:
        self._model, self._config = model, config
        self._peak = peak_learning_rate(config, images_per_step)
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=self._peak, weight_decay=config.weight_decay, fused=True
        )
        self._plateau = None
        if config.chosen_schedule == "plateau":
            self._plateau = ReduceLROnPlateau(self._optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE)
        self._average = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True) if config.ema_decay else None
        self._steps = 0

    @property
    def learning_rate(self) -> float:
        """The present rate."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def averaged_model(self) -> nn.Module:
        """The model to validate and keep: the moving average, or the model itself where there is none."""
        return self._average.module if self._average else self._model

    def step(self, progress: float) -> None:
        """Take the gradients that have gathered down, `progress` (0-1) through the training."""
        if not self._plateau:
            for group in self._optimizer.param_groups:
                group["lr"] = self._peak * cosine_share(progress, self._config.warmup)
        descend(self._optimizer, self._model, self._config.gradient_clip)
        self._steps += 1
        if self._average:
            self._average.update(self._model, step=self._steps)

    def after_epoch(self, val_loss: float) -> None:
        """Judge an epoch by its validation loss."""
        if self._plateau:
            self._plateau.step(val_loss)

    def state_dict(self) -> dict[str, Any]:
        """All that a restart needs beside the model."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "peak": self._peak,
            "plateau": self._plateau.state_dict() if self._plateau else None,
            "average": self._average.module.state_dict() if self._average else None,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, also by another number of workers."""
        self._optimizer.load_state_dict(state["optimizer"])
        for group in self._optimizer.param_groups:
            group["lr"] *= self._peak / state["peak"]  # which grows with the number of workers
        if self._plateau:
            self._plateau.load_state_dict(state["plateau"])
        if self._average:
            self._average.module.load_state_dict(state["average"])
        self._steps = state["steps"]


def descend(optimizer: torch.optim.Optimizer, model: nn.Module, gradient_clip: float) -> None:
    """Take the gradients in `model` down, scaled to a norm of at most `gradient_clip` unless that is 0."""
    if gradient_clip:
        nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
