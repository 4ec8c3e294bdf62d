"""Progress of a streaming job on standard error: a bar on a terminal, and elsewhere one line per interval."""

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
    """How far a job is."""

    images: int
    """Images of the archive that have a row, those of earlier runs included."""
    total: int
    """Images of the archive."""
    errors: int
    """Error rows of this run."""
    images_per_second: float | None
    """Rate of this run since its first batch began; None until a batch is finished."""

    def rate(self) -> str:
        """The rate as people read it: `12.3 img/s`, or `waiting for the first batch`."""
        rate = self.images_per_second
        if rate is None:
            return "waiting for the first batch"
        return f"{rate:.1f} img/s" if rate >= 0.1 else f"{rate * 60:.2g} img/min"

    def time_left(self) -> str:
        """The time that the remaining images take at this rate: `40 s left`; empty until a batch is finished."""
        if self.images_per_second is None:
            return ""
        seconds = max(0, self.total - self.images) / self.images_per_second
        for unit, size in (("h", 3600), ("min", 60)):
            if seconds >= 2 * size:
                return f"{seconds / size:.1f} {unit} left"
        return f"{seconds:.0f} s left"


class Counter:
    """Counts the images and errors of one run, and knows when its first batch began."""

    def __init__(self) -> None:
        self.images = 0
        self.errors = 0
        self.began: float | None = None

    def add(self, images: int, errors: int, seconds: float) -> None:
        """Count a batch of `images` images, `errors` of them errors, that took `seconds` seconds."""
        if self.began is None:
            self.began = time.monotonic() - seconds
        self.images += images
        self.errors += errors

    def read(self) -> tuple[int, int, float | None]:
        """Images, errors, and images per second since the first batch began, which is None before a batch is finished.

        Starting the workers and loading the models is not part of the rate.
        """
        if self.began is None or not self.images:
            return self.images, self.errors, None
        return self.images, self.errors, self.images / max(time.monotonic() - self.began, 1e-3)


Tally = ray.remote(num_cpus=0)(Counter)
"""A `Counter` as a Ray actor, to which all workers of one run add."""


@contextmanager
def shown_progress(left: int, seconds: float, *, done: int = 0) -> Iterator[ActorHandle]:
    """Show the progress of a run on standard error until the block ends; gives the `Tally` that workers add to.

    Args:
        left: images that this run scores.
        seconds: interval between two lines where standard error is no terminal.
        done: images that earlier runs have scored.
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
    """One line for a log: images, rate, errors and time left."""
    parts = (f"{now.images:,}/{now.total:,} images", now.rate(), f"{now.errors:,} errors", now.time_left())
    return "  ".join(filter(None, parts))
