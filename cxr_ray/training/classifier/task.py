"""What the driver of a classifier training hands to its workers."""

from dataclasses import dataclass

import numpy as np
import ray
from ray.actor import ActorHandle

from cxr_ray.config import TrainClassifierConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierTask:
    """All that a worker needs to know."""

    config: TrainClassifierConfig
    labels: tuple[str, ...]
    targets: dict[str, np.ndarray]
    """Class indices int64 by split."""
    cached: dict[str, list[ray.ObjectRef]] | None
    """Parts of the splits' pixels; None where Ray Data streams them."""
    dataset_fingerprint: str
    threads: int
    listener: ActorHandle
    """Receives an `EpochReport` as each epoch ends."""
