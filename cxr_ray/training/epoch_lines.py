"""Epochs on the terminal and in TensorBoard as they end, wherever the workers run."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

CLASSIFIER_FIGURES = (("accuracy", "val_accuracy"), ("macro F1", "val_macro_f1"), ("AUROC", "val_auroc"))
"""Titles and names of the metrics that stand in a classifier's line."""


@ray.remote(num_cpus=0)
class EpochLog:
    """Collects the report of every epoch, and hears of one that has none."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self._diverged_in: int | None = None

    def add(self, report: Any) -> None:
        """Take the report of one epoch, or a line about one."""
        self.reports.append(report)

    def since(self, seen: int) -> list[Any]:
        """Reports after the first `seen`."""
        return self.reports[seen:]

    def note_divergence(self, epoch: int) -> None:
        """Take note that the loss is no finite number in this epoch, which has no report and no checkpoint."""
        self._diverged_in = epoch

    def diverged_in(self) -> int | None:
        """The epoch in which training ended for this reason."""
        return self._diverged_in


@contextmanager
def reported_epochs(on_epoch: Callable[[Any], None]) -> Iterator[ActorHandle]:
    """An `EpochLog` whose reports are handed to `on_epoch`, in a thread, until the block ends."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    epoch_log = EpochLog.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    stop = threading.Event()
    thread = threading.Thread(target=_hand_on, args=(epoch_log, on_epoch, stop), name="epochs", daemon=True)
    thread.start()
    try:
        yield epoch_log
    finally:
        stop.set()
        thread.join(timeout=60)


def _hand_on(epoch_log: ActorHandle, on_epoch: Callable[[Any], None], stop: threading.Event) -> None:
    if sys.platform == "linux":
        # Of this thread alone: what is made of reports yields to training workers on the same machine, which on
        # two cores would lose a tenth of a short epoch to drawing.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    seen, ending = 0, False
    while not ending:
        ending = stop.wait(1.0)
        for report in ray.get(epoch_log.since.remote(seen)):
            seen += 1
            on_epoch(report)


def print_line(text: str) -> None:
    """To standard output, at once also where that is a file."""
    print(text, flush=True)


def epoch_line(metrics: dict[str, Any], total: int, figures: Sequence[tuple[str, str]] = CLASSIFIER_FIGURES) -> str:
    """One line: losses, those of the validation `figures` (titles and names) that are there, speed, time left."""
    left = (total - metrics["epoch"]) * metrics["seconds"]
    told = "".join(f"{title} {metrics[name]:.4f}  " for title, name in figures if name in metrics)
    return (
        f"epoch {metrics['epoch']:>3}/{total}  loss {metrics['train_loss']:.4f}  val loss {metrics['val_loss']:.4f}  "
        f"{told}{metrics['images_per_second']:,.1f} img/s  {_minutes(left)} left"
    )


def _minutes(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
