"""The loop that every worker of every training runs: epoch after epoch, a checkpoint after each."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import ray
import torch
from ray import train
from ray.actor import ActorHandle

from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.training_state import BestBundle, Progress, checkpoint_of, read_state
from cxr_ray.training.worker_context import WorkerContext


class Learner(Protocol):
    """A model and everything that changes it."""

    context: WorkerContext

    def state_dict(self) -> dict[str, Any]:
        """All that a restart needs: tensors, numbers and strings."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedEpoch:
    """What came of an epoch."""

    report: EpochReport
    """Its metrics hold at least `epoch`, `train_loss` and `val_loss`; the loop adds `seconds`."""
    save_bundle: Callable[[Path], None]
    """Writes the model as it is now into a folder."""


def worker_context(threads: int) -> WorkerContext:
    """Rank and device of this worker; on a CPU it computes with `threads` threads."""
    ray_context = train.get_context()
    context = WorkerContext(
        rank=ray_context.get_world_rank(),
        world_size=ray_context.get_world_size(),
        device=train.torch.get_device(),
    )
    if context.device.type == "cpu":
        torch.set_num_threads(threads)
    return context


def train_epochs(
    learner: Learner,
    run_epoch: Callable[[int], FinishedEpoch | None],
    *,
    epochs: int,
    patience: int,
    listener: ActorHandle,
    accuracy_name: str = "val_accuracy",
) -> None:
    """Run the epochs after the last checkpoint; report a checkpoint, which carries the best bundle, after each.

    Args:
        learner: takes the state of the checkpoint.
        run_epoch: trains and validates the epoch of a number; None if it diverged, which ends the training.
        epochs: to run at most.
        patience: epochs without a lower validation loss after which the training ends.
        listener: an `EpochLog`.
        accuracy_name: the metric by which the best epoch is chosen.
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
        if progress.add(metrics, accuracy_name) and context.is_first:
            finished.save_bundle(best.path)
        _report(learner, progress, best, finished.report, listener)


def _report(learner: Learner, progress: Progress, best: BestBundle, report: EpochReport, listener: ActorHandle) -> None:
    """Tell Ray Train, which waits for all workers; the first one brings the checkpoint along."""
    if not learner.context.is_first:
        train.report(report.metrics)
        return
    with checkpoint_of(progress, learner.state_dict(), best) as checkpoint:
        train.report(report.metrics, checkpoint=checkpoint)
    listener.add.remote(report)


def training_figures(
    epoch: int, losses: Sequence[float], counts: Sequence[int], *, seconds: float, learning_rate: float
) -> dict[str, Any]:
    """Metrics of the training half of an epoch, from the mean loss of each worker and the images it saw."""
    return {
        "epoch": epoch,
        "train_loss": float(np.average(losses, weights=counts)),
        "learning_rate": learning_rate,
        "images_per_second": sum(counts) / seconds,
        "workers": len(losses),
    }


def seed_of(*parts: int) -> int:
    """A seed that no other parts give."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
