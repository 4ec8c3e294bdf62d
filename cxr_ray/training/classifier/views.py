"""Pixels and labels as the classifier learns them: augmented, mixed, normalised."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.training.augmentation import Augmentation


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingViews:
    """Makes inputs and targets of training steps.

    Attributes:
        to_input: turns pixels into normalised inputs.
        augmentation: random views of the grey plane, before it is normalised.
        classes: number of labels.
        mixup: both parameters of the beta distribution that mixing fractions are drawn from; 0 mixes nothing
            (Zhang et al. 2018, "mixup", arXiv 1710.09412).
        generator: draws the augmentation; on the CPU.
        mixup_generator: draws the mixing fractions.
    """

    to_input: GreyInput
    augmentation: Augmentation
    classes: int
    mixup: float
    generator: torch.Generator
    mixup_generator: np.random.Generator

    def __call__(self, pixels: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs float32 [B, 3, S, S] and class probabilities float32 [B, classes] on the model's device.

        Mixup replaces each image and its target by a convex combination of them and those of another image of the batch,
        by one fraction for both; the image itself has the larger part.

        Args:
            pixels: uint8 [B, S, S].
            targets: class indices int64 [B].
        """
        grey = self.augmentation(self.to_input.on_device(pixels), self.generator)
        truth = functional.one_hot(torch.from_numpy(targets), self.classes).float().to(grey.device)
        if self.mixup:
            drawn = self.mixup_generator.beta(self.mixup, self.mixup, len(grey))
            fraction = torch.from_numpy(np.maximum(drawn, 1 - drawn)).float().to(grey.device)
            grey = torch.lerp(grey.roll(1, 0), grey, fraction.view(-1, 1, 1, 1))
            truth = torch.lerp(truth.roll(1, 0), truth, fraction.view(-1, 1))
        return self.to_input.normalised(grey), truth


def augmentation_of(config: TrainClassifierConfig) -> Augmentation:
    """The augmentation with the limits that a config sets."""
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
