"""What the driver of a CLIP fine-tuning hands to its workers."""

from dataclasses import dataclass

import numpy as np
import ray
from ray.actor import ActorHandle

from cxr_ray.config import FinetuneClipConfig
from cxr_ray.training.clip.split_pairs import SplitPairs


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTask:
    """All that a worker needs to know."""

    config: FinetuneClipConfig
    pairs: dict[str, SplitPairs]
    """By split."""
    pixels: list[ray.ObjectRef]
    """Parts of the pixels of all images, each image once."""
    tokens: ray.ObjectRef
    """`TokenTable` of captions and prompts."""
    prompts: dict[str, np.ndarray]
    """Sentences in the token table, int64, of each class that zero-shot accuracy tells apart."""
    dataset_fingerprint: str
    threads: int
    listener: ActorHandle
    """Receives an `EpochReport` as each epoch ends."""
