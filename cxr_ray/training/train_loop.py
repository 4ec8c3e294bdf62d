"""Where the workers of a training begin."""

from typing import Any


def train_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """Train `loop_config["task"]`, a `ClassifierTask`, from the last checkpoint on.

    Imports late: driver and controller load this function too, and would wait ten seconds for models they never use.
    """
    from cxr_ray.training.classifier_loop import train_from_last_checkpoint

    train_from_last_checkpoint(loop_config["task"])


def finetune_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """The same for `loop_config["task"]`, a `ClipTask`."""
    from cxr_ray.training.clip_loop import finetune_from_last_checkpoint

    finetune_from_last_checkpoint(loop_config["task"])


def segmenter_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """The same for `loop_config["task"]`, a `SegmenterTask`."""
    from cxr_ray.training.segmenter_loop import train_segmenter_from_last_checkpoint

    train_segmenter_from_last_checkpoint(loop_config["task"])
