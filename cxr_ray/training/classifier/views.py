"""Training inputs of a classifier: augmented, mixed and normalised images with their targets."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.training.augmentation import Augmentation
from cxr_ray.training.classifier.one_class import one_hot


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingViews:
    """Makes the inputs and targets of training steps of a classifier.

    Attributes:
        to_input: function that turns pixels into normalised inputs.
        augmentation: random augmentation of the grey images, which precedes normalisation.
        classes: number of labels.
        truth_of: function of targets and `classes` that returns what the loss takes, float32 [B, classes].
        mixup: both parameters of the beta distribution from which mixing fractions are drawn; 0 switches mixup off
            (Zhang et al. 2018, "mixup", arXiv 1710.09412).
        generator: generator of the augmentation, on the CPU.
        mixup_generator: generator of the mixing fractions.
    """

    to_input: GreyInput
    augmentation: Augmentation
    classes: int
    mixup: float
    generator: torch.Generator
    mixup_generator: np.random.Generator
    truth_of: Callable[[np.ndarray, int], torch.Tensor] = one_hot

    def __call__(self, pixels: np.ndarray | torch.Tensor, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Make inputs float32 [B, 3, S, S] and targets of the loss float32 [B, classes] on the model's device.

        Mixup replaces each image by a convex combination of itself and another image of the batch, and its target by the
        same combination of both targets, NaN where one of them is; the image itself has a fraction of at least one half.

        Args:
            pixels: images, uint8 [B, S, S].
            targets: targets of the images, such as class indices int64 [B].
        """
        grey = self.augmentation(self.to_input.on_device(pixels), self.generator)
        truth = self.truth_of(targets, self.classes).to(grey.device)
        if self.mixup:
            drawn = self.mixup_generator.beta(self.mixup, self.mixup, len(grey))
            fraction = torch.from_numpy(np.maximum(drawn, 1 - drawn)).float().to(grey.device)
            grey = torch.lerp(grey.roll(1, 0), grey, fraction.view(-1, 1, 1, 1))
            truth = torch.lerp(truth.roll(1, 0), truth, fraction.view(-1, 1))
        return self.to_input.normalised(grey), truth


def augmentation_of(config: TrainClassifierConfig) -> Augmentation:
    """Make the augmentation with the limits that the config sets."""
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
