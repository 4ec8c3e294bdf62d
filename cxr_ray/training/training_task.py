"""What the driver of every training hands to its workers."""

from dataclasses import dataclass

from ray.actor import ActorHandle

from cxr_ray.config.training import TrainingJobConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingTask:
    """What a worker of any training needs to know."""

    config: TrainingJobConfig
    dataset_fingerprint: str
    threads: int
    """Threads that a worker on a CPU computes with."""
    listener: ActorHandle
    """An `EpochLog`, which receives an `EpochReport` as each epoch ends."""
