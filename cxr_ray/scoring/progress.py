"""Show the progress of a job on standard error: a bar on a terminal, otherwise one line per interval."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cxr_ray.scoring.stage_metrics import UNFINISHED, StageMetrics

log = logging.getLogger("cxr_ray")

STILL_SECONDS = 300.0
"""Seconds without any movement after which the progress says what it waits for."""

PIECE_SECONDS = 60.0
"""Seconds that an actor works for a piece of a block, and about the work that a killed job loses for each actor."""

Span = tuple[str, str, str, int]
"""Images that a worker has in hand: what it does with them, the ids of the first and the last, and their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of a job at one moment."""

    images: int
    """Number of images of the archive that have a row, including those of earlier runs."""
    total: int
    """Number of images of the archive."""
    errors: int
    """Number of error rows of this run."""
    images_per_second: float | None
    """Images per second of this run since its first batch started; None until a batch is finished."""
    still_seconds: float = 0.0
    """Seconds since a worker last began or finished anything."""
    oldest: Span | None = None
    """Images that a worker has had in hand for longest; None if no worker has any."""
    waiting: str = ""
    """What the job waits for and for how long, where no node has room for its first actor; empty if it does not wait."""

    def rate(self) -> str:
        """Return the rate as text: `12.3 img/s`, `3 img/min` for a slow job, or `waiting for the first batch`."""
        rate = self.images_per_second
        if rate is None:
            return "waiting for the first batch"
        return f"{rate:.1f} img/s" if rate >= 0.1 else f"{rate * 60:.2g} img/min"

    def stillness(self) -> str:
        """Say what the job waits for, or after `STILL_SECONDS` for how long nothing has moved and why; else nothing."""
        if self.waiting or self.still_seconds < STILL_SECONDS:
            return self.waiting
        waiting = "no worker has work: waiting for free nodes, or for storage"
        if self.oldest is not None:
            doing, first, last, images = self.oldest
            waiting = f"{doing} {first!r} to {last!r} ({images:,} images)"
        return f"nothing moved for {self.still_seconds / 60:.0f} min: {waiting}"

    def time_left(self) -> str:
        """Return the time for the remaining images as text: `40 s left`, or nothing until a batch is finished."""
        if self.images_per_second is None:
            return ""
        seconds = max(0, self.total - self.images) / self.images_per_second
        for unit, size in (("h", 3600), ("min", 60)):
            if seconds >= 2 * size:
                return f"{seconds / size:.1f} {unit} left"
        return f"{seconds:.0f} s left"


class Counter:
    """Counts the images and errors of one run, and keeps what its workers have begun and not ended, and their rate.

    Args:
        metrics: records the steps of the workers for Prometheus; None if nobody watches.
    """

    def __init__(self, metrics: StageMetrics | None = None) -> None:
        self._metrics = metrics
        self.images = 0
        self.errors = 0
        self.began: float | None = None
        self._moved = time.monotonic()
        self._begun: dict[Span, int] = {}
        self._piece_rows: dict[Span, int] = {}
        self._worked = 0.0
        self._loaded = 0
        self._counts: dict[str, int] = {}
        self._actors: list[ActorHandle] = []
        self._warnings: dict[str, None] = {}

    def join(self, actor: ActorHandle) -> None:
        """Remember an actor of the run."""
        self._actors.append(actor)

    def warn(self, line: str) -> None:
        """Keep a warning of a worker; several workers may give the same."""
        self._warnings[line] = None

    def warnings(self) -> list[str]:
        """Return the different warnings of the workers, the first one first."""
        return list(self._warnings)

    def begin(self, span: Span) -> None:
        """Note that a worker begins with a `Span` of images."""
        self._moved = time.monotonic()
        self._begun[span] = self._begun.get(span, 0) + 1

    def end(self, span: Span) -> None:
        """Note that a worker is done with a `Span` of images."""
        self._moved = time.monotonic()
        self._begun.pop(span, None)

    def piece_rows(self, span: Span, batch_size: int) -> int:
        """Choose how many images of a block to score and commit together: what an actor scores in `PIECE_SECONDS`.

        A block gets the same answer each time: if its worker is lost, Ray loads it again and keeps the pieces that it
        already has, by their places in the block.

        Args:
            span: the images of the block.
            batch_size: number of images of a batch; it is the answer until the first batch is scored.

        Returns:
            A number of images: one batch or more, and whole batches.
        """
        rate = self.images / self._worked if self._worked else 0.0
        rows = max(1, int(rate * PIECE_SECONDS / batch_size)) * batch_size
        return self._piece_rows.setdefault(span, rows)

    def still(self) -> tuple[float, Span | None]:
        """Return the seconds since a worker began or finished anything, and the images that were begun first."""
        return time.monotonic() - self._moved, next(iter(self._begun), None)

    def in_progress(self) -> tuple[dict[Span, int], list[ActorHandle]]:
        """Return how often each span was begun that was not ended, and the actors of the run."""
        return self._begun, self._actors

    def add(self, images: int, errors: int, seconds: float) -> None:
        """Add a batch of `images` images that took `seconds` seconds; `errors` is the number of its error rows."""
        if self.began is None:
            self.began = time.monotonic() - seconds
        self._moved = time.monotonic()
        self._worked += seconds
        self.images += images
        self.errors += errors

    def note_loaded(self, images: int, seconds: float, size_bytes: int) -> None:
        """Note that images were loaded, see `StageMetrics.loaded`; those of a lost worker are loaded, and counted, again."""
        self._loaded += images
        if self._metrics is not None:
            self._metrics.loaded(images, seconds, size_bytes)

    def note_written(self, rows: int, seconds: float) -> None:
        """Note that a file of rows was written, see `StageMetrics.written`."""
        if self._metrics is not None:
            self._metrics.written(rows, seconds)

    def note_scored(self, statuses: dict[tuple[str, str], int], batch_size: int, seconds: float) -> None:
        """Count the rows of a batch by status and kind of error, see `StageMetrics.scored`."""
        if self._metrics is not None:
            self._metrics.scored(statuses, batch_size, seconds)
        self._count(statuses)

    def note_finished(self, statuses: dict[tuple[str, str], int]) -> None:
        """Count the rows that were `UNFINISHED` by status."""
        if self._metrics is not None:
            self._metrics.finished(statuses)
        self._count(statuses)

    def _count(self, statuses: dict[tuple[str, str], int]) -> None:
        for (status, kind), rows in statuses.items():
            if status == UNFINISHED:
                continue
            for key in (status, f"{status}:{kind}") if kind else (status,):
                self._counts[key] = self._counts.get(key, 0) + rows

    def counts(self) -> tuple[dict[str, int], int]:
        """Return the rows of the run by status, and of errors by `error:KIND`, and the images that wait for a model."""
        return self._counts, max(0, self._loaded - self.images)

    def read(self) -> tuple[int, int, float | None]:
        """Return the number of images, the number of errors, and the images per second since the first batch started.

        The rate is None until a batch is finished; it leaves out the time to start workers and load models.
        """
        if self.began is None or not self.images:
            return self.images, self.errors, None
        return self.images, self.errors, self.images / max(time.monotonic() - self.began, 1e-3)


Tally = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Counter)
"""Ray actor class of a `Counter`, to which all workers of a run add; if its node is lost, it counts from 0 again elsewhere."""


@contextmanager
def shown_progress(
    left: int,
    seconds: float,
    *,
    done: int = 0,
    waiting: Callable[[], str] = str,
    metrics: StageMetrics | None = None,
) -> Iterator[ActorHandle]:
    """Show the progress of a run on standard error until the block ends.

    Args:
        left: number of images that this run scores.
        seconds: interval between two lines in seconds, if standard error is not a terminal.
        done: number of images that earlier runs have scored.
        waiting: function that says what the run waits for; it returns an empty text if the run does not wait.
        metrics: records the steps of the workers for Prometheus.

    Yields:
        A `Tally` to which the workers add their batches.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    tally = Tally.options(scheduling_strategy=here).remote(metrics)  # not on a node that may be lost with its work
    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    read = partial(_read, tally, left, done, waiting)
    thread = threading.Thread(target=show, args=(read, seconds, stop), name="progress", daemon=True)
    thread.start()
    try:
        yield tally
    finally:
        stop.set()
        thread.join(timeout=5)


def _read(tally: ActorHandle, left: int, done: int, waiting: Callable[[], str]) -> Progress:
    (images, errors, rate), (seconds, oldest) = ray.get([tally.read.remote(), tally.still.remote()])
    return Progress(
        images=done + images,
        total=done + left,
        errors=errors,
        images_per_second=rate,
        still_seconds=seconds,
        oldest=oldest,
        waiting=waiting(),
    )


def _bar(read: Callable[[], Progress], _seconds: float, stop: threading.Event) -> None:
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}"),
        rich_progress.TextColumn("{task.fields[errors]} errors"),
        rich_progress.TextColumn("{task.fields[time_left]}"),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        now = read()
        task = bar.add_task("", total=now.total, completed=now.images, rate="", errors=0, time_left="")
        ended = False
        while not ended:
            ended = stop.wait(0.5)
            now = read()
            bar.update(
                task,
                completed=now.images,
                errors=f"{now.errors:,}",
                rate=now.rate(),
                time_left=now.stillness() or now.time_left(),
            )


def _lines(read: Callable[[], Progress], seconds: float, stop: threading.Event) -> None:
    while not stop.wait(seconds):
        log.info("%s", progress_line(read()))


def progress_line(now: Progress) -> str:
    """Return the progress as one line of a log: images, rate, errors and time left."""
    parts = (
        f"{now.images:,}/{now.total:,} images",
        now.rate(),
        f"{now.errors:,} errors",
        now.time_left(),
        now.stillness(),
    )
    return "  ".join(filter(None, parts))
