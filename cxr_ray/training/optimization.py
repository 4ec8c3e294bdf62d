"""Optimizer and learning-rate schedule: how a loss changes the weights."""

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.models.backbones import BACKBONES

PLATEAU_RATE, PLATEAU_FACTOR, PLATEAU_PATIENCE = 1e-4, 0.5, 7  # of the seed recipe


def peak_learning_rate(config: TrainClassifierConfig) -> float:
    """The rate asked for, or the default that suits schedule and backbone."""
    default = BACKBONES[config.backbone].scratch_rate if config.chosen_schedule == "onecycle" else PLATEAU_RATE
    return config.learning_rate or default


class Optimization:
    """AdamW with clipped gradients, under one of two schedules.

    `onecycle` rises for 30 % of the steps and falls to nothing (Smith 2018), which suits random weights; `plateau`
    halves the rate after 7 epochs without a better validation loss, which suits pretrained ones.

    Args:
        model: its parameters are changed in place.
        config: backbone, rate, schedule, weight decay and clipping.
        steps: of the whole training.
    """

    def __init__(self, model: nn.Module, config: TrainClassifierConfig, *, steps: int) -> None:
        peak = peak_learning_rate(config)
        self._parameters = list(model.parameters())
        self._max_norm = config.gradient_clip
        self._optimizer = torch.optim.AdamW(self._parameters, lr=peak, weight_decay=config.weight_decay)
        self._cycle = self._plateau = None
        if config.chosen_schedule == "onecycle":
            # torch also counts the step after the last, so that calling `update` for the last one is allowed
            self._cycle = OneCycleLR(self._optimizer, max_lr=peak, total_steps=steps + 1)
        else:
            self._plateau = ReduceLROnPlateau(self._optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE)

    @property
    def learning_rate(self) -> float:
        """The present rate."""
        return float(self._optimizer.param_groups[0]["lr"])

    def update(self, loss: torch.Tensor) -> None:
        """One step down the gradient of `loss`."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._max_norm:
            nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        self._optimizer.step()
        if self._cycle:
            self._cycle.step()

    def after_epoch(self, val_loss: float) -> None:
        """Judge an epoch by its validation loss."""
        if self._plateau:
            self._plateau.step(val_loss)
