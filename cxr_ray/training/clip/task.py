"""The task that the driver of a CLIP fine-tuning sends to its workers."""

from dataclasses import dataclass

import numpy as np
import ray

from cxr_ray.config import FinetuneClipConfig
from cxr_ray.training.clip.split_pairs import SplitPairs
from cxr_ray.training.training_task import TrainingTask


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTask(TrainingTask):
    """Values that a worker of a CLIP fine-tuning needs."""

    config: FinetuneClipConfig
    pairs: dict[str, SplitPairs]
    """Pairs by split."""
    pixels: list[ray.ObjectRef]
    """References to the decoded images of all splits, each image once, see `cache_images`."""
    tokens: ray.ObjectRef
    """Reference to the `TokenTable` of captions and prompts."""
    prompts: dict[str, np.ndarray]
    """Row numbers (int64) in the token table of each class's prompts, by label; empty without zero-shot validation."""
