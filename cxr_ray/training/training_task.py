"""The task that the driver of a training sends to its workers."""

from dataclasses import dataclass

from ray.actor import ActorHandle

from cxr_ray.config.training import TrainingJobConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingTask:
    """Values that a worker of any training needs."""

    config: TrainingJobConfig
    """Config of the job."""
    dataset_fingerprint: str
    """Fingerprint of the training data, which the bundle's card records."""
    threads: int
    """Number of torch threads of a worker that uses a CPU."""
    listener: ActorHandle
    """`EpochLog` actor, which receives an `EpochReport` at the end of each epoch."""
