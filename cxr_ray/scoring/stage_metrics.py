"""What the stages of a run tell Prometheus about their steps."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
from ray.actor import ActorHandle

from cxr_ray.cluster.job_metrics import BATCH_FILL, IMAGES, READ_BYTES, record_step


@dataclass(frozen=True, kw_only=True, slots=True)
class StageMetrics:
    """Records the steps of one run, in the worker that takes them."""

    tags: dict[str, str]
    """Values of `job_metrics.RUN_TAGS`."""
    batch_size: int
    """Number of images of a batch that reaches the models."""

    def scored(self, statuses: dict[tuple[str, str], int], seconds: float) -> None:
        """Record a batch whose rows have these `statuses`, see `statuses_of`."""
        images = sum(statuses.values())
        record_step("score", images, seconds, self.tags)
        BATCH_FILL.record(images / self.batch_size, self.tags)
        for (status, kind), count in statuses.items():
            IMAGES.record(count, self.tags | {"status": status, "error_kind": kind})


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadMetrics:
    """Records what a `LoadStage` loads, and tells the tally of the run."""

    tags: dict[str, str]
    """Values of `job_metrics.RUN_TAGS`."""
    tally: ActorHandle
    """Actor that counts the images that are loaded."""

    def __call__(self, images: int, seconds: float, size_bytes: int) -> None:
        """Record that `images` images of `size_bytes` bytes were loaded in `seconds` seconds."""
        record_step("load", images, seconds, self.tags)
        READ_BYTES.record(size_bytes, self.tags)
        self.tally.note_loaded.remote(images)


def statuses_of(rows: pa.Table) -> dict[tuple[str, str], int]:
    """Count rows by status and kind of error, which is empty for a row that is no error."""
    kinds = (kind or "" for kind in rows["error_kind"].to_pylist())
    return dict(Counter(zip(rows["status"].to_pylist(), kinds, strict=True)))
