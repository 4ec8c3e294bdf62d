"""A segmenter in training, with its loss and optimizer, on one worker."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from cxr_ray.config import TrainSegmenterConfig
from cxr_ray.models.precision import autocast, precision_of_gradients
from cxr_ray.models.segmenter_ensemble import build_segmenter_network, member_weights, suited_to_cpu
from cxr_ray.training.epochs import train_epoch
from cxr_ray.training.learning_rate import cyclic_fraction
from cxr_ray.training.optimization import clipped_step
from cxr_ray.training.segmenter.mask_loss import DiceCrossEntropy
from cxr_ray.training.worker_context import WorkerContext


class MaskTargets(NamedTuple):
    """True masks of a batch of images, with their weights."""

    masks: torch.Tensor
    """float32 [B, 1, S, S], fraction of each pixel that the mask covers, 0-1."""
    weights: torch.Tensor
    """float32 [B], weight of each mask in the loss."""


class SegmenterLearner:
    """A segmenter in training; the networks at the ends of its learning-rate cycles become an ensemble.

    Args:
        config: sizes of the network, training recipe and precision.
        context: rank and device of this worker.

    Attributes:
        members: weights of each network in the ensemble so far, on the CPU.
    """

    def __init__(self, config: TrainSegmenterConfig, *, context: WorkerContext) -> None:
        self.config, self.context = config, context
        network = build_segmenter_network(config.filters, deep_supervision=config.deep_supervision)
        if context.device.type == "cpu" and precision_of_gradients(context.device, config.precision) == "fp32":
            network = suited_to_cpu(network)
        self.network = network.to(context.device)
        self.members: list[dict[str, torch.Tensor]] = []
        self._loss = DiceCrossEntropy()
        self._optimizer = torch.optim.SGD(
            self.network.named_weights().values(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=True,
        )
        self._parallel = context.in_parallel(self.network)

    @property
    def learning_rate(self) -> float:
        """The current learning rate."""
        return float(self._optimizer.param_groups[0]["lr"])

    def train_epoch(
        self, batches: Iterator[tuple[torch.Tensor, MaskTargets]], *, epoch: int, steps: int
    ) -> tuple[float, int]:
        """Train for `steps` steps on the batches of epoch `epoch` (the first is 1); return mean loss and number of images."""
        self.network.train()
        return train_epoch(
            self._parallel,
            batches,
            criterion=lambda logits, targets: self._loss(logits, targets.masks, targets.weights),
            autocast=self.autocast,
            step=lambda step: self._step((epoch - 1 + step / steps) / self.config.epochs),
        )

    def _step(self, progress: float) -> None:
        """Update the network by its gradients; `progress` (0-1) through the training determines the learning rate."""
        for group in self._optimizer.param_groups:
            fraction = cyclic_fraction(progress, self.config.cycles, self.config.warmup)
            group["lr"] = self.config.learning_rate * fraction
        clipped_step(self._optimizer, self.network, self.config.gradient_clip)

    def keep_member(self) -> None:
        """Add a copy of the network's current weights to the ensemble."""
        self.members.append(member_weights(self.network))

    def autocast(self) -> Any:
        """Return the mixed-precision context for the `precision` of the config."""
        device = self.context.device
        return autocast(device, precision_of_gradients(device, self.config.precision))

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from: the network, the optimizer and the ensemble."""
        return {
            "network": self.network.named_weights(),
            "optimizer": self._optimizer.state_dict(),
            "members": self.members,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned; the number of workers may differ."""
        with torch.no_grad():
            for name, parameter in self.network.named_weights().items():
                parameter.copy_(state["network"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self.members = [{name: tensor.cpu() for name, tensor in member.items()} for member in state["members"]]
