"""Reports of epochs, from the workers to the driver as the epochs end, and as lines on its terminal."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LineMetrics = Sequence[tuple[str, str]]
"""Titles and names of the validation metrics in the line of an epoch."""


@ray.remote(num_cpus=0)
class EpochLog:
    """An actor that collects the reports of epochs, and notes an epoch that has none because training diverged."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self._diverged_in: int | None = None

    def add(self, report: Any) -> None:
        """Add the report of an epoch, or a line about an epoch."""
        self.reports.append(report)

    def since(self, seen: int) -> list[Any]:
        """All reports but the first `seen`."""
        return self.reports[seen:]

    def note_divergence(self, epoch: int) -> None:
        """Note that the loss is no finite number in this epoch, which has no report and no checkpoint."""
        self._diverged_in = epoch

    def diverged_in(self) -> int | None:
        """The epoch in which training diverged; None if it did not."""
        return self._diverged_in


@contextmanager
def reported_epochs(on_epoch: Callable[[Any], None]) -> Iterator[ActorHandle]:
    """An `EpochLog`; a thread calls `on_epoch` with each of its reports until the block ends."""
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
        # This thread alone becomes idle: its drawing gives way to training workers on the same machine, which on two
        # cores would lose a tenth of a short epoch.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    seen, ending = 0, False
    while not ending:
        ending = stop.wait(1.0)
        for report in ray.get(epoch_log.since.remote(seen)):
            seen += 1
            on_epoch(report)


def print_line(text: str) -> None:
    """Print a line without delay, also where standard output is a file."""
    print(text, flush=True)


def epoch_line(metrics: dict[str, Any], total: int, line_metrics: LineMetrics) -> str:
    """Line about an epoch of `total`: losses, those of `line_metrics` that it has, speed, and the time that is left."""
    left = (total - metrics["epoch"]) * metrics["seconds"]
    chosen = "".join(f"{title} {metrics[name]:.4f}  " for title, name in line_metrics if name in metrics)
    return (
        f"epoch {metrics['epoch']:>3}/{total}  loss {metrics['train_loss']:.4f}  val loss {metrics['val_loss']:.4f}  "
        f"{chosen}{metrics['images_per_second']:,.1f} img/s  {_minutes(left)} left"
    )


def _minutes(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
