"""Keep `run.json` and the gauges of Prometheus up to date while a run scores images, and log what its workers warn of."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.actor import ActorHandle

from cxr_ray.archive.run_record import RunRecord
from cxr_ray.cluster.job_metrics import IMAGES_REMAINING, IMAGES_WAITING

WATCH_SECONDS = 5.0
"""Seconds between two looks at the tally of a run."""

log = logging.getLogger("cxr_ray")


@contextmanager
def watched_run(tally: ActorHandle, record: RunRecord, tags: dict[str, str], *, left: int, done: int) -> Iterator[None]:
    """Renew `record`, set the gauges and log what workers warn of, from what `tally` has, until the block ends.

    Args:
        tally: actor to which the workers of the run add their batches.
        record: record of the run.
        tags: values of `job_metrics.RUN_TAGS`.
        left: number of images that are left to score when the block begins.
        done: number of images that have a row by then.
    """
    stop, told = threading.Event(), 0

    def watch() -> None:
        nonlocal told
        is_over = False
        while not is_over:
            is_over = stop.wait(WATCH_SECONDS)
            try:
                asked = [tally.read.remote(), tally.counts.remote(), tally.warnings.remote()]
                seen = ray.get(asked, timeout=WATCH_SECONDS)
            except ray.exceptions.RayError:  # the actor is lost or starts again, which the pipeline notices by itself
                continue
            (images, _, rate), (counts, waiting), warnings = seen
            for line in warnings[told:]:
                log.warning("%s", line)
            told = len(warnings)
            IMAGES_REMAINING.record(max(0, left - images), tags)
            IMAGES_WAITING.record(waiting, tags)
            record.renew(**progress_of(images, rate, counts, left=left, done=done))

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=60)


def progress_of(images: int, rate: float | None, counts: dict[str, int], *, left: int, done: int) -> dict[str, Any]:
    """Entries of `run.json` for a run that goes on; none of them has the name of one that counts a finished output."""
    return {
        "images_total": done + left,
        "images_done": done + images,
        "images_per_second": None if rate is None else round(rate, 2),
        "counts_so_far": counts,
    }
