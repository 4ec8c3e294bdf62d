"""Learning-rate schedules."""

from typing import Literal, Protocol

import torch
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau


class Schedule(Protocol):
    """Changes the optimizer's rate as training goes on."""

    def after_step(self) -> None:
        """Call after every optimizer step."""

    def after_epoch(self, val_loss: float) -> None:
        """Call after every epoch."""


class OneCycle:
    """Up for 30 % of the steps and down to nothing (Smith 2018): what suits training from random weights."""

    def __init__(self, optimizer: torch.optim.Optimizer, peak: float, steps: int) -> None:
        # torch counts the step at which the cycle ends as well
        self._cycle = OneCycleLR(optimizer, max_lr=peak, total_steps=steps + 1)

    def after_step(self) -> None:
        """Move along the cycle."""
        self._cycle.step()

    def after_epoch(self, val_loss: float) -> None:
        """Nothing: the cycle knows its length."""


class Plateau:
    """Halved after 7 epochs without a better validation loss: the seed recipe, for pretrained weights."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=7)

    def after_step(self) -> None:
        """Nothing: only epochs count."""

    def after_epoch(self, val_loss: float) -> None:
        """Judge the epoch."""
        self._plateau.step(val_loss)


def make_schedule(
    name: Literal["onecycle", "plateau"], optimizer: torch.optim.Optimizer, *, peak: float, steps: int
) -> Schedule:
    """The schedule of that name over `steps` optimizer steps."""
    return OneCycle(optimizer, peak, steps) if name == "onecycle" else Plateau(optimizer)
