"""A classifier in training, with its loss and optimizer, on one worker."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.models.backbones import BACKBONES, build_backbone, classifier_head
from cxr_ray.models.depthwise import replace_depthwise
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.models.precision import autocast, precision_of_gradients
from cxr_ray.models.starting_weights import load_starting_weights, pretrained_normalisation, usual_normalisation
from cxr_ray.training.classifier.losses import Loss, cross_entropy
from cxr_ray.training.epochs import train_epoch
from cxr_ray.training.optimization import Optimization
from cxr_ray.training.worker_context import WorkerContext


class ClassifierLearner:
    """A classifier in training.

    Args:
        config: backbone, starting weights, training recipe and precision.
        classes: number of labels.
        class_weights: weights that `loss` takes, such as float [classes], one of each class.
        context: rank and device of this worker.
        labels: names of the classes, by which the head of starting weights is taken over; () takes it by number.
        loss: function of logits, targets, weights and label smoothing that returns the mean loss.
    """

    def __init__(
        self,
        config: TrainClassifierConfig,
        *,
        classes: int,
        class_weights: torch.Tensor,
        context: WorkerContext,
        labels: Sequence[str] = (),
        loss: Loss = cross_entropy,
    ) -> None:
        self.config, self.context = config, context
        channels_last = BACKBONES[config.backbone].channels_last
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        model = build_backbone(
            config.backbone,
            num_classes=classes,
            image_size=config.image_size,
            pretrained=config.pretrained,
            dropout=config.dropout,
            drop_path=config.drop_path,
        )
        self.normalisation = usual_normalisation(config.backbone)
        if config.pretrained:
            self.normalisation = pretrained_normalisation(model)
        if config.weights_uri:
            self.normalisation = load_starting_weights(
                model, config.weights_uri, backbone=config.backbone, labels=labels
            )
        if context.device.type == "cpu":
            replace_depthwise(model)
        self.model = model.to(context.device).to(memory_format=memory_format)
        self.to_input = GreyInput(self.normalisation.mean, self.normalisation.std, context.device, memory_format)
        self.optimization = Optimization(
            self.model, config, images_per_step=config.batch_size * config.accumulate * context.world_size
        )
        self._loss_of = loss
        self._class_weights = class_weights.to(context.device)
        self._compiled: nn.Module = torch.compile(self.model) if config.compile else self.model  # type: ignore[assignment]
        self._parallel: nn.Module | None = None
        self._frozen: bool | None = None

    @property
    def learning_rate(self) -> float:
        """The current learning rate."""
        return self.optimization.learning_rate

    def train_epoch(
        self, batches: Iterator[tuple[torch.Tensor, torch.Tensor]], *, epoch: int, steps: int
    ) -> tuple[float, int]:
        """Train for `steps` steps on the batches of epoch `epoch` (the first is 1); return mean loss and number of images."""
        self._freeze(epoch <= self.config.freeze_epochs)
        assert self._parallel is not None  # noqa: S101 - for the type checker
        result = train_epoch(
            self._parallel,
            batches,
            criterion=self._loss,
            autocast=self.autocast,
            step=lambda step: self.optimization.step((epoch - 1 + step / max(steps, 1)) / self.config.epochs),
            accumulate=self.config.accumulate,
        )
        self.context.average_buffers(self.model)
        if (averaged := self.optimization.averaged_model) is not self.model:
            self.context.average_buffers(averaged)
        return result

    def _loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Mean loss of logits and targets, float [B, K] each, with the weights and the label smoothing of the config."""
        return self._loss_of(logits, truth, self._class_weights, self.config.chosen_label_smoothing)

    def autocast(self) -> Any:
        """Return the mixed-precision context for the `precision` of the config."""
        device = self.context.device
        return autocast(device, precision_of_gradients(device, self.config.precision))

    def _freeze(self, frozen: bool) -> None:
        """Train only the head if `frozen`, else all layers; the normalisation statistics of frozen layers do not change."""
        if frozen != self._frozen:
            self.model.requires_grad_(not frozen)
            classifier_head(self.model).requires_grad_(True)
            # DDP records which parameters need gradients when it wraps a model
            self._parallel = self.context.in_parallel(self._compiled)
            self._frozen = frozen
        self.model.train(not frozen)
        classifier_head(self.model).train()

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from: the states of the model and of its optimization."""
        return {"model": self.model.state_dict(), "optimization": self.optimization.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.optimization.load_state_dict(state["optimization"])
