"""Progress of a streaming job: a bar on a terminal, one line an interval elsewhere."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.actor import ActorHandle

log = logging.getLogger("cxr_ray")


@ray.remote(num_cpus=0)
class Tally:
    """Counts images and errors for all workers of one job."""

    def __init__(self) -> None:
        self.images = 0
        self.errors = 0

    def add(self, images: int, errors: int) -> None:
        """Count one batch."""
        self.images += images
        self.errors += errors

    def read(self) -> tuple[int, int]:
        """Images and errors so far."""
        return self.images, self.errors


@contextmanager
def shown_progress(total: int, seconds: float) -> Iterator[ActorHandle]:
    """A `Tally` that workers add to, shown on standard error until the block ends."""
    tally = Tally.remote()  # type: ignore[attr-defined]
    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(tally, total, seconds, stop), name="progress", daemon=True)
    thread.start()
    try:
        yield tally
    finally:
        stop.set()
        thread.join(timeout=5)


def _bar(tally: ActorHandle, total: int, _seconds: float, stop: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} img/s"),
        TextColumn("{task.fields[errors]} errors"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total, rate=0.0, errors=0)
        meter = RateMeter()
        while not stop.wait(0.5):
            images, errors = ray.get(tally.read.remote())
            progress.update(task, completed=images, errors=errors, rate=meter.rate(images))
        images, errors = ray.get(tally.read.remote())
        progress.update(task, completed=images, errors=errors, rate=meter.rate(images))


def _lines(tally: ActorHandle, total: int, seconds: float, stop: threading.Event) -> None:
    meter = RateMeter()
    while not stop.wait(seconds):
        images, errors = ray.get(tally.read.remote())
        rate = meter.rate(images)
        left = f"{(total - images) / rate / 60:.1f} min left" if rate > 0 else "starting"
        log.info("%s/%s images  %.1f img/s  %s errors  %s", f"{images:,}", f"{total:,}", rate, f"{errors:,}", left)


class RateMeter:
    """Images a second since the first were seen: starting the workers does not count."""

    def __init__(self) -> None:
        self.start: tuple[float, int] | None = None

    def rate(self, images: int) -> float:
        """Rate at `images` images done by now."""
        now = time.monotonic()
        if self.start is None:
            self.start = (now, images) if images else None
            return 0.0
        seconds = now - self.start[0]
        return (images - self.start[1]) / seconds if seconds > 0 else 0.0
