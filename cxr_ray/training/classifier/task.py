"""The task that the driver of a classifier training sends to its workers."""

from dataclasses import dataclass

import numpy as np
import ray

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.classifier.objective import Objective
from cxr_ray.training.training_task import TrainingTask


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierTask(TrainingTask):
    """Values that a worker of a classifier training needs."""

    config: TrainClassifierConfig
    objective: Objective
    """What the classifier learns."""
    targets: dict[str, np.ndarray]
    """Targets of the images by split, such as class indices int64 [N]."""
    cached: dict[str, list[ray.ObjectRef]] | None
    """References to the decoded images by split, see `cache_pixels`; None if Ray Data streams the images."""
