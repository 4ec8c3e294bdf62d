"""What the driver of a CLIP fine-tuning hands to its workers."""

from dataclasses import dataclass

import numpy as np
import ray

from cxr_ray.config import FinetuneClipConfig
from cxr_ray.training.clip.split_pairs import SplitPairs
from cxr_ray.training.training_task import TrainingTask


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTask(TrainingTask):
    """What a worker of a CLIP fine-tuning needs to know."""

    config: FinetuneClipConfig
    pairs: dict[str, SplitPairs]
    """Pairs of each split."""
    pixels: list[ray.ObjectRef]
    """Parts of the pixels of all images, each image once, see `cache_images`."""
    tokens: ray.ObjectRef
    """`TokenTable` of captions and prompts."""
    prompts: dict[str, np.ndarray]
    """Numbers of the prompts in the token table, int64, for each class that zero-shot accuracy tells apart."""
