"""The task that the driver of a segmenter training sends to its workers."""

from dataclasses import dataclass

import numpy as np
import ray

from cxr_ray.config import TrainSegmenterConfig
from cxr_ray.training.training_task import TrainingTask


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmenterTask(TrainingTask):
    """Values that a worker of a segmenter training needs."""

    config: TrainSegmenterConfig
    cached: dict[str, list[ray.ObjectRef]]
    """References to the decoded images and masks by split, see `cache_masked_images`."""
    weights: np.ndarray
    """float64 [N], weight in the loss of each mask of the train split."""
