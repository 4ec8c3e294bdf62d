"""The training loop that every worker runs; it reports a checkpoint to Ray Train after each epoch."""

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
from cxr_ray.training.training_state import LOSS, BestBundle, Progress, checkpoint_of, read_state
from cxr_ray.training.training_task import TrainingTask
from cxr_ray.training.worker_context import WorkerContext

Shard = TypeVar("Shard")


class Learner(Protocol):
    """A model in training, with its optimizer, on one worker."""

    context: WorkerContext

    @property
    def learning_rate(self) -> float:
        """The current learning rate."""

    def train_epoch(self, batches: Iterator[Any], *, epoch: int, steps: int) -> tuple[float, int]:
        """Train for `steps` steps on the batches of epoch `epoch` (the first is 1); return mean loss and number of images."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from, made of tensors, numbers and strings only."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedEpoch:
    """The result of one epoch on one worker."""

    report: EpochReport
    """Report of the epoch; its metrics include `epoch`, `train_loss` and `val_loss`, and the loop adds `seconds`."""
    save_bundle: Callable[[str, dict[str, Any]], object]
    """Function of a folder's path and of metrics that writes the current model into the folder as a bundle."""


def start_worker(task: TrainingTask) -> WorkerContext:
    """Seed torch, set its number of threads if the worker uses a CPU, and return the context of this worker."""
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
    stop_by: str = LOSS,
) -> None:
    """Run the epochs after the last checkpoint, and report a checkpoint with the best bundle after each of them.

    Args:
        learner: learner whose state is restored from the last checkpoint.
        run_epoch: function that trains and validates the epoch of a number (the first is 1); it returns None if the
            training diverged, which ends it.
        epochs: maximum number of epochs.
        listener: `EpochLog` actor that receives the reports of the first worker.
        patience: number of epochs without a better `stop_by` after which the training ends.
        best_by: name of the metric by which the best epoch is chosen.
        stop_by: name of the metric that early stopping follows.
    """
    context, progress, best = learner.context, Progress(), BestBundle()
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            progress, state = read_state(Path(folder), device=context.device)
            learner.load_state_dict(state)
            best.restore(Path(folder))
    if context.is_first:
        ray.get(listener.begin.remote(progress.history))
    while progress.epoch < epochs and progress.epochs_since_best(stop_by) < patience:
        started = time.monotonic()
        finished = run_epoch(progress.epoch + 1)
        if finished is None:
            ray.get(listener.note_divergence.remote(progress.epoch + 1))
            return
        metrics = finished.report.metrics
        metrics["seconds"] = time.monotonic() - started
        if progress.add(metrics, best_by) and context.is_first:
            known = {name: value for name, value in metrics.items() if not math.isnan(value)}  # JSON has no NaN
            finished.save_bundle(str(best.path), known)
        _report(learner, progress, best, finished.report, listener)


def _report(learner: Learner, progress: Progress, best: BestBundle, report: EpochReport, listener: ActorHandle) -> None:
    """Report the epoch to Ray Train, which waits for the reports of all workers; the first adds the checkpoint."""
    if not learner.context.is_first:
        train.report(report.metrics)
        return
    with checkpoint_of(progress, learner.state_dict(), best) as checkpoint:
        train.report(report.metrics, checkpoint=checkpoint)
    ray.get(listener.add.remote(report))  # a worker that ends at once would take the report with it


def train_and_validate(
    learner: Learner, batches: Iterator[Any], validate: Callable[[], Shard], *, epoch: int, steps: int
) -> tuple[dict[str, Any], list[Shard]]:
    """Train one epoch on this worker's batches, then validate.

    Args:
        learner: learner of this worker.
        batches: this worker's batches of the epoch, enough for `steps` steps.
        validate: function that is called after the training and returns the result of this worker's shard of the
            validation split.
        epoch: number of the epoch; the first is 1.
        steps: number of optimizer steps of each worker.

    Returns:
        Training metrics over all workers, including `train_loss`, and the results of `validate` in the order of ranks.
    """
    started = time.monotonic()
    loss, images = learner.train_epoch(batches, epoch=epoch, steps=steps)
    seconds = time.monotonic() - started
    losses, counts, shards = zip(*learner.context.gather((loss, images, validate())), strict=True)
    metrics = {
        "epoch": epoch,
        "train_loss": float(np.average(losses, weights=counts)),
        "learning_rate": learner.learning_rate,
        "images_per_second": sum(counts) / seconds,
        "workers": len(losses),
    }
    return metrics, list(shards)
