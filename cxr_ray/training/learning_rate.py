"""Learning rates as functions of the batch and of how much of a training is done."""

import math

from cxr_ray.config.training import REFERENCE_BATCH, TrainClassifierConfig
from cxr_ray.models.backbones import BACKBONES

PLATEAU_RATE = 1e-4  # of the seed recipe
START_SHARE = 0.04  # of the peak rate, with which warm-up begins


def peak_learning_rate(config: TrainClassifierConfig, images_per_step: int) -> float:
    """The rate asked for, or the default that suits schedule and backbone, scaled to the images a step.

    Linear scaling: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1.
    """
    default = BACKBONES[config.backbone].scratch_rate if config.chosen_schedule == "cosine" else PLATEAU_RATE
    scale = images_per_step / REFERENCE_BATCH if config.scale_learning_rate else 1.0
    return (config.learning_rate or default) * scale


def cosine_share(progress: float, warmup: float) -> float:
    """Share of the peak rate at `progress` (0-1) through the training: a linear rise, then half a cosine to 0."""
    if progress < warmup:
        return START_SHARE + (1 - START_SHARE) * progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def cyclic_share(progress: float, cycles: int, warmup: float) -> float:
    """Share of the peak rate where it falls from the peak to 0 `cycles` times, each along half a cosine.

    Args:
        progress: 0-1 through the training.
        cycles: of equal length.
        warmup: share of the first cycle in which the rate rises; the others begin at the peak, to leave where they are.
    """
    cycle, within = divmod(progress * cycles, 1)
    return cosine_share(within, warmup if cycle == 0 else 0.0)
