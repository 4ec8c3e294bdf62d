"""The task that the driver of a classifier training sends to its workers."""

from dataclasses import dataclass

import numpy as np
import ray

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.training_task import TrainingTask


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierTask(TrainingTask):
    """Values that a worker of a classifier training needs."""

    config: TrainClassifierConfig
    labels: tuple[str, ...]
    """Class names, in the order of the classifier's outputs."""
    targets: dict[str, np.ndarray]
    """Class indices int64 [N] of the images, by split."""
    cached: dict[str, list[ray.ObjectRef]] | None
    """References to the decoded images by split, see `cache_pixels`; None if Ray Data streams the images."""
