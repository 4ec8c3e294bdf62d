"""The content of a checkpoint: the training's progress, the learner's state, and the bundle of the best epoch."""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ray import train

from cxr_ray.cluster.scratch_folder import ScratchFolder

STATE_NAME = "state.pt"
LOSS = "val_loss"
"""The one metric of which less is better."""
BEST_NAME = "best"


@dataclass(slots=True)
class Progress:
    """Progress of a training, which its history determines.

    Attributes:
        history: metrics of each finished epoch.
    """

    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.history[-1]["epoch"] if self.history else 0

    def add(self, metrics: dict[str, Any], best_by: str = "val_accuracy") -> bool:
        """Add a finished epoch; return True if it is the best so far by the metric `best_by`, then by `val_loss`."""
        earlier = [(_merit(one, best_by), _merit(one, LOSS)) for one in self.history]
        self.history.append(metrics)
        return not earlier or (_merit(metrics, best_by), _merit(metrics, LOSS)) > max(earlier)

    def epochs_since_best(self, metric: str = LOSS) -> int:
        """Number of epochs after the first of those whose `metric` is the best, for early stopping."""
        merits = [_merit(one, metric) for one in self.history]
        return len(merits) - 1 - merits.index(max(merits)) if merits else 0


def _merit(metrics: dict[str, Any], metric: str) -> float:
    """The value of a metric, negated if it is a loss: more is better. An unknown value (NaN) is the worst."""
    value = float(metrics[metric])
    return -math.inf if math.isnan(value) else -value if metric == LOSS else value


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
        torch.save({"progress": {"history": progress.history}, "learner": learner_state}, folder.path / STATE_NAME)
        shutil.copytree(best.path, folder.path / BEST_NAME, copy_function=_link)
        yield train.Checkpoint.from_directory(str(folder.path))
    finally:
        folder.delete()


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def read_state(checkpoint: Path, *, device: str | torch.device = "cpu") -> tuple[Progress, dict[str, Any]]:
    """Read the progress and the learner's state from the folder of a checkpoint; tensors are loaded to `device`."""
    state = torch.load(checkpoint / STATE_NAME, map_location=device, weights_only=True)
    return Progress(state["progress"]["history"]), state["learner"]
