"""What the tally of a run tells Prometheus about the steps of its stages.

All steps are recorded in the one process of the tally. Prometheus does not count the first value of a time series, and
each worker that recorded for itself would be a series of its own, which may live no longer than that first value.
"""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
from ray.actor import ActorHandle

from cxr_ray.cluster.job_metrics import BATCH_FILL, IMAGES, READ_BYTES, record_step
from cxr_ray.schema import MAP_COLUMN

UNFINISHED = "unfinished"
"""Status of a row that a later task finishes, which then counts it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageMetrics:
    """Records the steps of one run."""

    tags: dict[str, str]
    """Values of `job_metrics.RUN_TAGS`."""

    def loaded(self, images: int, seconds: float, size_bytes: int) -> None:
        """Record that `images` images of `size_bytes` bytes were loaded in `seconds` seconds."""
        record_step("load", images, seconds, self.tags)
        READ_BYTES.record(size_bytes, self.tags)

    def scored(self, statuses: dict[tuple[str, str], int], batch_size: int, seconds: float) -> None:
        """Record a batch of at most `batch_size` images whose rows have these `statuses`, see `statuses_of`."""
        images = sum(statuses.values())
        record_step("score", images, seconds, self.tags)
        BATCH_FILL.record(images / batch_size, self.tags)
        self.finished(statuses)

    def finished(self, statuses: dict[tuple[str, str], int]) -> None:
        """Record that there are rows of these `statuses`."""
        for (status, kind), count in statuses.items():
            if status != UNFINISHED:
                IMAGES.record(count, self.tags | {"status": status, "error_kind": kind})

    def written(self, rows: int, seconds: float) -> None:
        """Record that a file of `rows` rows was written in `seconds` seconds."""
        record_step("write", rows, seconds, self.tags)


@dataclass(frozen=True, slots=True)
class LoadedNote:
    """Tells a tally what a `LoadStage` has loaded."""

    tally: ActorHandle
    """Actor that counts the images."""

    def __call__(self, images: int, seconds: float, size_bytes: int) -> None:
        """Tell of one table; the arguments are those of `StageMetrics.loaded`."""
        self.tally.note_loaded.remote(images, seconds, size_bytes)


def statuses_of(rows: pa.Table) -> dict[tuple[str, str], int]:
    """Count rows by status and kind of error, which is empty for a row that is no error; rows with a map are `UNFINISHED`."""
    kinds = (kind or "" for kind in rows["error_kind"].to_pylist())
    statuses = rows["status"].to_pylist()
    if MAP_COLUMN in rows.column_names:
        waiting = rows[MAP_COLUMN].is_valid().to_pylist()
        statuses = [UNFINISHED if waits else status for waits, status in zip(waiting, statuses, strict=True)]
    return dict(Counter(zip(statuses, kinds, strict=True)))
