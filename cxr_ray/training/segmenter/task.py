"""What the driver of a student's training hands to its workers."""

from dataclasses import dataclass

import numpy as np
import ray
from ray.actor import ActorHandle

from cxr_ray.config import TrainSegmenterConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmenterTask:
    """All that a worker needs to know."""

    config: TrainSegmenterConfig
    cached: dict[str, list[ray.ObjectRef]]
    """Parts of the splits' images and masks, see `cache_masked_images`."""
    weights: np.ndarray
    """float64 [N], of the train split: how much each mask is trusted."""
    dataset_fingerprint: str
    threads: int
    listener: ActorHandle
    """Receives an `EpochReport` as each epoch ends."""
