"""Epoch reports, which workers send to the driver at the end of each epoch, and their lines on its terminal."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cxr_ray.archive.uris import one_line
from cxr_ray.training.epoch_report import EpochReport

log = logging.getLogger("cxr_ray")

LineMetrics = Sequence[tuple[str, str]]
"""Pairs of title and metric name for the validation metrics that the line of an epoch shows."""


@ray.remote(num_cpus=0)
class EpochLog:
    """Actor that collects the reports of epochs and records the epoch in which the training diverged."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self._last_epoch: int | None = None
        self._diverged_in: int | None = None

    def add(self, report: Any) -> None:
        """Add the report of an epoch, or a line of text about an epoch."""
        self.reports.append(report)
        if isinstance(report, EpochReport):
            self._last_epoch = report.metrics["epoch"]

    def begin(self, history: Sequence[dict[str, Any]]) -> None:
        """Add the epochs of `history` that were saved by workers that were lost before they could report them.

        The first worker calls this when it starts. The epochs of its first call were reported by an earlier run.

        Args:
            history: metrics of each epoch that is saved.
        """
        if self._last_epoch is None:
            self._last_epoch = history[-1]["epoch"] if history else 0
        for metrics in history:
            if metrics["epoch"] > self._last_epoch:
                self.add(EpochReport(metrics=metrics))

    def since(self, seen: int) -> list[Any]:
        """Return all reports except the first `seen` ones."""
        return self.reports[seen:]

    def note_divergence(self, epoch: int) -> None:
        """Record that the loss is not finite in `epoch`, which has neither a report nor a checkpoint."""
        self._diverged_in = epoch

    def diverged_in(self) -> int | None:
        """Return the epoch in which the training diverged, or None if it did not diverge."""
        return self._diverged_in


@contextmanager
def reported_epochs(on_epoch: Callable[[Any], None]) -> Iterator[ActorHandle]:
    """Yield a new `EpochLog`; until the block ends, a thread calls `on_epoch` with each report that it receives."""
    own_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    epoch_log = EpochLog.options(scheduling_strategy=own_node).remote()  # type: ignore[attr-defined]
    stop = threading.Event()
    thread = threading.Thread(target=_forward_reports, args=(epoch_log, on_epoch, stop), name="epochs", daemon=True)
    thread.start()
    try:
        yield epoch_log
    finally:
        stop.set()
        thread.join(timeout=60)


def _forward_reports(epoch_log: ActorHandle, on_epoch: Callable[[Any], None], stop: threading.Event) -> None:
    """Call `on_epoch` with each report of `epoch_log`, including those that come before `stop` is noticed."""
    if sys.platform == "linux":
        # Only this thread gets the idle priority, so that its figures take no CPU time from training workers on the
        # same machine; on two cores they took a tenth of a short epoch.
        with suppress(OSError):  # some containers do not allow it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    seen, is_stopped = 0, False
    while not is_stopped:
        is_stopped = stop.wait(1.0)
        try:
            reports = ray.get(epoch_log.since.remote(seen))
        except ray.exceptions.RayError as error:  # the cluster is lost, which the training itself reports
            log.warning("the lines of further epochs are not shown: %s", one_line(error))
            return
        for report in reports:
            seen += 1
            try:
                on_epoch(report)
            except Exception as error:  # noqa: BLE001  a figure that cannot be drawn must not cost the lines of later epochs
                log.warning("an epoch was not shown in full: %s: %s", type(error).__name__, one_line(error))


def epoch_line(metrics: dict[str, Any], total: int, line_metrics: LineMetrics) -> str:
    """Text of an epoch's line: losses, the metrics of `line_metrics` that exist, speed, and time left of `total` epochs."""
    left = (total - metrics["epoch"]) * metrics["seconds"]
    chosen = "".join(f"{title} {metrics[name]:.4f}  " for title, name in line_metrics if name in metrics)
    return (
        f"epoch {metrics['epoch']:>3}/{total}  loss {metrics['train_loss']:.4f}  val loss {metrics['val_loss']:.4f}  "
        f"{chosen}{metrics['images_per_second']:,.1f} img/s  {_hours_minutes_seconds(left)} left"
    )


def _hours_minutes_seconds(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
