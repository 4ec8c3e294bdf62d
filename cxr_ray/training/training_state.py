"""The content of a checkpoint: the training's progress, the learner's state, and the bundle of the best epoch."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from ray import train

from cxr_ray.cluster.scratch_folder import ScratchFolder

STATE_NAME = "state.pt"
BEST_NAME = "best"


@dataclass(slots=True)
class Progress:
    """Progress of a training; the names of the attributes are keys in checkpoints.

    Attributes:
        epoch: number of finished epochs.
        history: metrics of each finished epoch.
        best_accuracy: value of the metric `best_by` (see `add`) in the epoch whose bundle is kept.
        best_loss: validation loss of the epoch whose bundle is kept.
        least_loss: minimum validation loss of all epochs.
        epochs_since_least_loss: number of epochs after the one with the minimum validation loss, for early stopping.
    """

    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_accuracy: float = -1.0
    best_loss: float = float("inf")
    least_loss: float = float("inf")
    epochs_since_least_loss: int = 0

    def add(self, metrics: dict[str, Any], best_by: str = "val_accuracy") -> bool:
        """Add a finished epoch; return True if it is the best so far: maximum `best_by`, then minimum validation loss."""
        accuracy, loss = metrics[best_by], metrics["val_loss"]
        self.epoch = metrics["epoch"]
        self.history.append(metrics)
        self.epochs_since_least_loss = 0 if loss < self.least_loss else self.epochs_since_least_loss + 1
        self.least_loss = min(self.least_loss, loss)
        is_best = (accuracy, -loss) > (self.best_accuracy, -self.best_loss)
        if is_best:
            self.best_accuracy, self.best_loss = accuracy, loss
        return is_best


class BestBundle:
    """The first worker's local copy of the bundle of the best epoch, which is part of every checkpoint.

    Attributes:
        path: folder of the bundle; it does not exist until the first epoch is saved or a checkpoint is restored.
    """

    def __init__(self) -> None:
        self._folder = ScratchFolder("best")
        self.path = self._folder.path / BEST_NAME

    def restore(self, checkpoint: Path) -> None:
        """Copy the bundle from `checkpoint`, the folder of a checkpoint."""
        shutil.copytree(checkpoint / BEST_NAME, self.path)


@contextmanager
def checkpoint_of(progress: Progress, learner_state: dict[str, Any], best: BestBundle) -> Iterator[train.Checkpoint]:
    """Yield a checkpoint for `ray.train.report`; its folder is deleted after the block."""
    folder = ScratchFolder("checkpoint")
    try:
        torch.save({"progress": asdict(progress), "learner": learner_state}, folder.path / STATE_NAME)
        shutil.copytree(best.path, folder.path / BEST_NAME, copy_function=_link)
        yield train.Checkpoint.from_directory(str(folder.path))
    finally:
        folder.delete()


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def read_state(checkpoint: Path, *, device: str | torch.device = "cpu") -> tuple[Progress, dict[str, Any]]:
    """Read the progress and the learner's state from the folder of a checkpoint; tensors are loaded to `device`."""
    state = torch.load(checkpoint / STATE_NAME, map_location=device, weights_only=True)
    return Progress(**state["progress"]), state["learner"]
