"""What the driver of a segmenter training hands to its workers."""

from dataclasses import dataclass

import numpy as np
import ray

from cxr_ray.config import TrainSegmenterConfig
from cxr_ray.training.training_task import TrainingTask


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmenterTask(TrainingTask):
    """What a worker of a segmenter training needs to know."""

    config: TrainSegmenterConfig
    cached: dict[str, list[ray.ObjectRef]]
    """Parts of the images and masks of each split, see `cache_masked_images`."""
    weights: np.ndarray
    """float64 [N], of the train split: the weight of each mask in the loss."""
