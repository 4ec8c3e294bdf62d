"""What the driver of a classifier training hands to its workers."""

from dataclasses import dataclass

import numpy as np
import ray

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.training_task import TrainingTask


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierTask(TrainingTask):
    """What a worker of a classifier training needs to know."""

    config: TrainClassifierConfig
    labels: tuple[str, ...]
    targets: dict[str, np.ndarray]
    """Class indices, int64 [N], of the images of each split."""
    cached: dict[str, list[ray.ObjectRef]] | None
    """Parts of the pixels of each split, see `cache_pixels`; None where Ray Data streams the images."""
