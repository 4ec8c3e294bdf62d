"""Show the progress of a job on standard error: a bar on a terminal, otherwise one line per interval."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle

log = logging.getLogger("cxr_ray")


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

    def rate(self) -> str:
        """Return the rate as text: `12.3 img/s`, `3 img/min` for a slow job, or `waiting for the first batch`."""
        rate = self.images_per_second
        if rate is None:
            return "waiting for the first batch"
        return f"{rate:.1f} img/s" if rate >= 0.1 else f"{rate * 60:.2g} img/min"

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
    """Counts the images and errors of one run, and records when its first batch started."""

    def __init__(self) -> None:
        self.images = 0
        self.errors = 0
        self.began: float | None = None

    def add(self, images: int, errors: int, seconds: float) -> None:
        """Add a batch of `images` images that took `seconds` seconds; `errors` is the number of its error rows."""
        if self.began is None:
            self.began = time.monotonic() - seconds
        self.images += images
        self.errors += errors

    def read(self) -> tuple[int, int, float | None]:
        """Return the number of images, the number of errors, and the images per second since the first batch started.

        The rate is None until a batch is finished; it leaves out the time to start workers and load models.
        """
        if self.began is None or not self.images:
            return self.images, self.errors, None
        return self.images, self.errors, self.images / max(time.monotonic() - self.began, 1e-3)


Tally = ray.remote(num_cpus=0)(Counter)
"""Ray actor class of a `Counter`, to which all workers of a run add."""


@contextmanager
def shown_progress(left: int, seconds: float, *, done: int = 0) -> Iterator[ActorHandle]:
    """Show the progress of a run on standard error until the block ends.

    Args:
        left: number of images that this run scores.
        seconds: interval between two lines in seconds, if standard error is not a terminal.
        done: number of images that earlier runs have scored.

    Yields:
        A `Tally` to which the workers add their batches.
    """
    tally = Tally.remote()
    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(tally, left, done, seconds, stop), name="progress", daemon=True)
    thread.start()
    try:
        yield tally
    finally:
        stop.set()
        thread.join(timeout=5)


def _read(tally: ActorHandle, left: int, done: int) -> Progress:
    images, errors, rate = ray.get(tally.read.remote())
    return Progress(images=done + images, total=done + left, errors=errors, images_per_second=rate)


def _bar(tally: ActorHandle, left: int, done: int, _seconds: float, stop: threading.Event) -> None:
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
        task = bar.add_task("", total=done + left, completed=done, rate="", errors=0, time_left="")
        ended = False
        while not ended:
            ended = stop.wait(0.5)
            now = _read(tally, left, done)
            bar.update(task, completed=now.images, errors=f"{now.errors:,}", rate=now.rate(), time_left=now.time_left())


def _lines(tally: ActorHandle, left: int, done: int, seconds: float, stop: threading.Event) -> None:
    while not stop.wait(seconds):
        log.info("%s", progress_line(_read(tally, left, done)))


def progress_line(now: Progress) -> str:
    """Return the progress as one line of a log: images, rate, errors and time left."""
    parts = (f"{now.images:,}/{now.total:,} images", now.rate(), f"{now.errors:,} errors", now.time_left())
    return "  ".join(filter(None, parts))
