"""Pixels and labels as the model learns them: augmented, mixed, normalised."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.training.augmentation import Augmentation


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingViews:
    """Makes what a step learns from.

    Attributes:
        to_input: pixels to normalised inputs.
        augmentation: of the grey plane, before it is normalised.
        classes: number of labels.
        mixup: parameter of the beta distribution; 0 for none (Zhang et al. 2018, "mixup").
        generator: of the augmentation, on the CPU.
        shares: generator of the shares by which pairs are mixed.
    """

    to_input: GreyInput
    augmentation: Augmentation
    classes: int
    mixup: float
    generator: torch.Generator
    shares: np.random.Generator

    def __call__(self, pixels: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs float32 [B, 3, S, S] and class probabilities float32 [B, classes] on the model's device.

        Args:
            pixels: uint8 [B, S, S].
            targets: class indices int64 [B].
        """
        grey = self.augmentation(self.to_input.on_device(pixels), self.generator)
        truth = functional.one_hot(torch.from_numpy(targets), self.classes).float().to(grey.device)
        if self.mixup:
            drawn = self.shares.beta(self.mixup, self.mixup, len(grey))
            share = torch.from_numpy(np.maximum(drawn, 1 - drawn)).float().to(grey.device)
            grey = torch.lerp(grey.roll(1, 0), grey, share.view(-1, 1, 1, 1))
            truth = torch.lerp(truth.roll(1, 0), truth, share.view(-1, 1))
        return self.to_input.normalised(grey), truth


def augmentation_of(config: TrainClassifierConfig) -> Augmentation:
    """The augmentation that a config asks for."""
    return Augmentation(
        flip=config.flip,
        rotate=config.rotate,
        translate=config.translate,
        scale=config.scale,
        brightness=config.brightness,
        contrast=config.contrast,
        gamma=config.gamma,
        erase=config.erase,
    )
