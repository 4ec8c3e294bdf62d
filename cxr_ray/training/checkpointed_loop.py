"""The loop that every worker of every training runs: epoch after epoch, with a checkpoint after each."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import ray
import torch
from ray import train
from ray.actor import ActorHandle

from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.training_state import BestBundle, Progress, checkpoint_of, read_state
from cxr_ray.training.training_task import TrainingTask
from cxr_ray.training.worker_context import WorkerContext

Shard = TypeVar("Shard")


class Learner(Protocol):
    """A model and everything that changes it, on one worker."""

    context: WorkerContext

    @property
    def learning_rate(self) -> float:
        """The present learning rate."""

    def train_epoch(self, batches: Iterator[Any], *, epoch: int, steps: int) -> tuple[float, int]:
        """Learn from the batches of epoch `epoch` (from 1), which make `steps` steps; mean loss and images seen."""

    def state_dict(self) -> dict[str, Any]:
        """All that a restart needs: tensors, numbers and strings."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedEpoch:
    """What came of an epoch."""

    report: EpochReport
    """Its metrics hold at least `epoch`, `train_loss` and `val_loss`; the loop adds `seconds`."""
    save_bundle: Callable[[str, dict[str, Any]], object]
    """Writes the model as it is now, with its metrics, as a bundle into the folder of a path."""


def start_worker(task: TrainingTask) -> WorkerContext:
    """Seed torch and, on a CPU, set the number of its threads; the context of this worker."""
    ray_context = train.get_context()
    context = WorkerContext(
        rank=ray_context.get_world_rank(),
        world_size=ray_context.get_world_size(),
        device=train.torch.get_device(),
    )
    if context.device.type == "cpu":
        torch.set_num_threads(task.threads)
    torch.manual_seed(task.config.seed)
    return context


def train_epochs(
    learner: Learner,
    run_epoch: Callable[[int], FinishedEpoch | None],
    *,
    epochs: int,
    listener: ActorHandle,
    patience: float = math.inf,
    best_by: str = "val_accuracy",
) -> None:
    """Run the epochs after the last checkpoint; report a checkpoint, which carries the best bundle, after each.

    Args:
        learner: takes the state of the checkpoint.
        run_epoch: trains and validates the epoch of a number; None if it diverged, which ends the training.
        epochs: epochs to run at most.
        listener: an `EpochLog`.
        patience: epochs without a lower validation loss after which the training ends.
        best_by: the metric by which the best epoch is chosen.
    """
    context, progress, best = learner.context, Progress(), BestBundle()
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            progress, state = read_state(Path(folder), device=context.device)
            learner.load_state_dict(state)
            best.restore(Path(folder))
    while progress.epoch < epochs and progress.epochs_since_least_loss < patience:
        began = time.monotonic()
        finished = run_epoch(progress.epoch + 1)
        if finished is None:
            ray.get(listener.note_divergence.remote(progress.epoch + 1))
            return
        metrics = finished.report.metrics
        metrics["seconds"] = time.monotonic() - began
        if progress.add(metrics, best_by) and context.is_first:
            known = {name: value for name, value in metrics.items() if not math.isnan(value)}  # JSON knows no NaN
            finished.save_bundle(str(best.path), known)
        _report(learner, progress, best, finished.report, listener)


def _report(learner: Learner, progress: Progress, best: BestBundle, report: EpochReport, listener: ActorHandle) -> None:
    """Report the epoch to Ray Train, which waits for all workers; the first one brings the checkpoint along."""
    if not learner.context.is_first:
        train.report(report.metrics)
        return
    with checkpoint_of(progress, learner.state_dict(), best) as checkpoint:
        train.report(report.metrics, checkpoint=checkpoint)
    listener.add.remote(report)


def train_and_validate(
    learner: Learner, batches: Iterator[Any], validate: Callable[[], Shard], *, epoch: int, steps: int
) -> tuple[dict[str, Any], list[Shard]]:
    """Train one epoch on this worker's batches, then validate.

    Args:
        learner: trains on the batches.
        batches: the worker's batches of the epoch, which make `steps` steps.
        validate: called after the training; what the model makes of this worker's shard of the validation split.
        epoch: number of the epoch, from 1.
        steps: steps of each worker.

    Returns:
        Metrics of the training over all workers, `train_loss` among them, and what `validate` gave on each worker.
    """
    began = time.monotonic()
    loss, images = learner.train_epoch(batches, epoch=epoch, steps=steps)
    seconds = time.monotonic() - began
    losses, counts, shards = zip(*learner.context.gather((loss, images, validate())), strict=True)
    metrics = {
        "epoch": epoch,
        "train_loss": float(np.average(losses, weights=counts)),
        "learning_rate": learner.learning_rate,
        "images_per_second": sum(counts) / seconds,
        "workers": len(losses),
    }
    return metrics, list(shards)
