"""The optimizer of a classifier, with its learning-rate schedule and averaged weights."""

from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.learning_rate import cosine_fraction, peak_learning_rate

PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.5, 7
"""`plateau` multiplies the rate by the factor once more epochs in a row than the patience do not lower the loss."""


class Optimization:
    """AdamW with clipped gradients, one of two learning-rate schedules, and an optional moving average of the weights.

    The schedule `cosine` depends only on the progress of the training, so a training may resume with another number of
    workers; `plateau` halves the rate at the eighth epoch in a row without a better validation loss.

    Args:
        model: the model to train; its parameters are changed in place.
        config: backbone, learning rate, schedule, weight decay, clipping and averaging.
        images_per_step: number of images per step over all workers.
    """

    def __init__(self, model: nn.Module, config: TrainClassifierConfig, *, images_per_step: int) -> None:
        self._model, self._config = model, config
        self._peak = peak_learning_rate(config, images_per_step)
        self._optimizer = torch.optim.AdamW(parameter_groups(model, config), lr=self._peak, fused=True)
        for group in self._optimizer.param_groups:
            group["lr"] = self._peak * group["lr_scale"]
        self._plateau = None
        if config.chosen_schedule == "plateau":
            self._plateau = ReduceLROnPlateau(self._optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE)
        self._average = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True) if config.ema_decay else None
        self._steps = 0

    @property
    def learning_rate(self) -> float:
        """The current learning rate of the head; layers before it may have lower ones."""
        return max(float(group["lr"]) for group in self._optimizer.param_groups)

    @property
    def averaged_model(self) -> nn.Module:
        """The model to validate and save: the moving average of the weights, or the model itself without averaging."""
        return self._average.module if self._average else self._model

    def step(self, progress: float) -> None:
        """Update the model by its gradients; `progress` (0-1) through the training determines the rate of `cosine`."""
        if not self._plateau:
            for group in self._optimizer.param_groups:
                group["lr"] = self._peak * group["lr_scale"] * cosine_fraction(progress, self._config.warmup)
        clipped_step(self._optimizer, self._model, self._config.gradient_clip)
        self._steps += 1
        if self._average:
            self._average.update(self._model, step=self._steps)

    def after_epoch(self, val_loss: float) -> None:
        """Pass the validation loss of an epoch to the schedule `plateau`; the schedule `cosine` ignores it."""
        if self._plateau:
            self._plateau.step(val_loss)

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from, without the weights of the model."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "peak": self._peak,
            "plateau": self._plateau.state_dict() if self._plateau else None,
            "average": self._average.module.state_dict() if self._average else None,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned, and scale the learning rate to the current number of workers."""
        self._optimizer.load_state_dict(state["optimizer"])
        for group in self._optimizer.param_groups:
            group["lr"] *= self._peak / state["peak"]  # the peak grows with the number of workers
        if self._plateau:
            self._plateau.load_state_dict(state["plateau"])
        if self._average:
            self._average.module.load_state_dict(state["average"])
        self._steps = state["steps"]


def parameter_groups(model: nn.Module, config: TrainClassifierConfig) -> list[dict[str, Any]]:
    """Parameters of `model` with their weight decay, and `lr_scale`, the fraction of the learning rate that they get.

    The rate of a layer is that of the layer above it times `config.layer_decay`: Howard and Ruder 2018, "Universal Language
    Model Fine-tuning for Text Classification", section 3.2. timm says which parameters belong to which layer.
    """
    if config.layer_decay == 1 and config.decay_all:
        return [{"params": list(model.parameters()), "weight_decay": config.weight_decay, "lr_scale": 1.0}]
    names: Any = getattr(model, "no_weight_decay", tuple)  # tokens and position embeddings of a ViT
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        model,
        config.weight_decay,
        no_weight_decay_list=() if config.decay_all else names(),
        weight_decay_exclude_1d=not config.decay_all,
        layer_decay=config.layer_decay,
    )
    return groups


def clipped_step(optimizer: torch.optim.Optimizer, model: nn.Module, gradient_clip: float) -> None:
    """Clip the gradients to the norm `gradient_clip` (0 does not clip), take a step of `optimizer`, clear the gradients."""
    if gradient_clip:
        nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
