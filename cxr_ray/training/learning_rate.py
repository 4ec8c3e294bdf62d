"""Learning rates as functions of the images per step and of the progress of a training."""

import math

from cxr_ray.config.training import REFERENCE_BATCH, TrainClassifierConfig
from cxr_ray.models.backbones import BACKBONES

PLATEAU_RATE = 1e-4
"""Default learning rate of the schedule `plateau`."""
START_FRACTION = 0.04
"""Fraction of the peak rate at which the warm-up starts."""


def peak_learning_rate(config: TrainClassifierConfig, images_per_step: int) -> float:
    """The learning rate of the config, or the default for its schedule and backbone, scaled to the images per step.

    The scaling is linear, as in Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1.
    """
    default = BACKBONES[config.backbone].scratch_rate if config.chosen_schedule == "cosine" else PLATEAU_RATE
    scale = images_per_step / REFERENCE_BATCH if config.scale_learning_rate else 1.0
    return (config.learning_rate or default) * scale


def cosine_fraction(progress: float, warmup: float) -> float:
    """Fraction of the peak rate at `progress` (0-1): a linear rise until `warmup` (0-1), then half a cosine down to 0."""
    if progress < warmup:
        return START_FRACTION + (1 - START_FRACTION) * progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def cyclic_fraction(progress: float, cycles: int, warmup: float) -> float:
    """Fraction of the peak rate where the rate falls from the peak to 0 `cycles` times, each along half a cosine.

    Args:
        progress: fraction of the training that is finished, 0-1.
        cycles: number of cycles, which have equal lengths.
        warmup: fraction of the first cycle in which the rate rises. Later cycles start at the peak, so that the network
            leaves the minimum that the previous cycle reached.
    """
    cycle, within = divmod(progress * cycles, 1)
    return cosine_fraction(within, warmup if cycle == 0 else 0.0)
