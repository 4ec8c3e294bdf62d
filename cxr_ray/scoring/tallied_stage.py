"""The actor of a scoring job: a stage, with what the tally of the run and Prometheus are told of each batch."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import ray
from ray.actor import ActorHandle

from cxr_ray.schema import MAP_COLUMN
from cxr_ray.scoring.lost_workers import span_of
from cxr_ray.scoring.stage_metrics import statuses_of
from cxr_ray.scoring.worker_warnings import tell_warnings


class TalliedStage:
    """A stage that reports the number of its images and errors to a tally.

    The stage runs in a thread of its own. Ray Data calls an actor from a new thread after every few batches; in each
    new thread torch would start its OpenMP threads again and could not reuse freed memory.

    Args:
        stage: class of a stage that gives one row per image.
        tally: actor to which images, errors and seconds of each batch are added.
        batch_size: maximum number of images of a batch.
        arguments: keyword arguments of `stage`.
    """

    def __init__(self, *, stage: type, tally: ActorHandle, batch_size: int, arguments: dict[str, Any]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._tally, self._batch_size = tally, batch_size
        tell_warnings(tally)
        self._tally.join.remote(ray.get_runtime_context().current_actor)
        self._stage = self._thread.submit(stage, **arguments).result()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the rows of the stage for a batch of loaded images."""
        began, span = time.monotonic(), span_of("scoring", batch)
        self._tally.begin.remote(span)
        rows: pa.Table = self._thread.submit(self._stage, batch).result()
        self._tally.end.remote(span)
        errors, seconds = rows.num_rows - rows["error_kind"].null_count, time.monotonic() - began
        self._tally.add.remote(rows.num_rows, errors, seconds)
        self._tally.note_scored.remote(statuses_of(rows), self._batch_size, seconds)
        return rows


class TalliedFinish:
    """A stage that finishes the rows of a `TalliedStage` in tasks on CPUs, and counts them by their last status.

    Args:
        stage: stage whose rows have a column `schema.MAP_COLUMN`, which is null for rows that are finished.
        tally: actor to which the rows are added.
    """

    def __init__(self, stage: Callable[[pa.Table], pa.Table], tally: ActorHandle) -> None:
        self._stage, self._tally = stage, tally

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the finished rows of a block."""
        rows = self._stage(block)
        self._tally.note_finished.remote(statuses_of(rows.filter(block[MAP_COLUMN].is_valid())))
        return rows
