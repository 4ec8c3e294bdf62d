"""BiomedCLIP in fine-tuning, with its loss and optimizer, on one worker."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from cxr_ray.config import FinetuneClipConfig
from cxr_ray.models.biomedclip import BiomedClip, clip_input
from cxr_ray.models.dhn_nce import dhn_nce_loss
from cxr_ray.models.precision import autocast, precision_of_gradients
from cxr_ray.training.clip.feature_gather import gather_features, gather_rows
from cxr_ray.training.clip.parameter_groups import parameter_groups
from cxr_ray.training.clip.split_pairs import same_pairs
from cxr_ray.training.clip.views import PairBatch
from cxr_ray.training.epochs import train_epoch
from cxr_ray.training.learning_rate import cosine_fraction
from cxr_ray.training.optimization import clipped_step
from cxr_ray.training.worker_context import WorkerContext

Features = tuple[torch.Tensor, torch.Tensor]
"""Features of images and features of captions, float32 [B, D] each."""


class BothEncoders(nn.Module):
    """Both encoders of BiomedCLIP as one module.

    One forward pass computes both, so that DistributedDataParallel exchanges the gradients of both encoders together.

    Args:
        clip: model whose encoders and parameters are used.
    """

    def __init__(self, clip: BiomedClip) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, batch: PairBatch) -> Features:
        """Encode images and captions to features of L2 norm 1."""
        return self.clip.encode_image(batch.pixels), self.clip.encode_text(batch.token_ids)


class ClipLearner:
    """BiomedCLIP in fine-tuning.

    The loss has its own temperature, so the logit scale of the pretraining does not change.

    Args:
        config: training recipe, loss parameters and precision.
        model: pretrained model, which is changed in place.
        context: rank and device of this worker.
    """

    def __init__(self, config: FinetuneClipConfig, model: BiomedClip, *, context: WorkerContext) -> None:
        self.config, self.context = config, context
        self.model = model.to(context.device)
        self.model.logit_scale.requires_grad_(False)
        self.to_input = clip_input(context.device)
        groups = parameter_groups(self.model, config.weight_decay)
        self._optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.adam_betas, fused=True)
        self._parallel = context.in_parallel(BothEncoders(self.model))

    @property
    def learning_rate(self) -> float:
        """The current learning rate."""
        return float(self._optimizer.param_groups[0]["lr"])

    def train_epoch(self, batches: Iterator[PairBatch], *, epoch: int, steps: int) -> tuple[float, int]:
        """Train for `steps` steps on the batches of epoch `epoch` (the first is 1); return mean loss and number of pairs."""
        self.model.train()
        return train_epoch(
            self._parallel,
            ((batch, batch.identities) for batch in batches),
            criterion=self._loss,
            autocast=self.autocast,
            step=lambda step: self.step((epoch - 1 + step / steps) / self.config.epochs),
        )

    def _loss(self, features: Features, identities: torch.Tensor) -> torch.Tensor:
        """DHN-NCE loss over the batches of all workers; pairs with the same image or caption are not negatives of each other."""
        images, texts = (gather_features(side, self.context) for side in features)
        same, config = same_pairs(gather_rows(identities, self.context)), self.config
        return dhn_nce_loss(images, texts, tau=config.tau, beta1=config.beta1, beta2=config.beta2, same=same)

    def step(self, progress: float) -> None:
        """Update the model by its gradients; `progress` (0-1) through the training determines the learning rate."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * cosine_fraction(progress, self.config.warmup)
        clipped_step(self._optimizer, self.model, self.config.gradient_clip)

    def autocast(self) -> Any:
        """Return the mixed-precision context for the `precision` of the config."""
        device = self.context.device
        return autocast(device, precision_of_gradients(device, self.config.precision))

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from: the states of model and optimizer."""
        return {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned; the number of workers may differ."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
