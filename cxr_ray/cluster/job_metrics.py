"""The metrics that the jobs export through Ray to Prometheus: their names, tags and buckets, all in this one place.

Ray puts `ray_` before each name and, behind the name of a counter, `_total`. Values of tags are ids of runs, kinds of work,
stages, statuses and kinds of errors; never a URI, a name of an image or anything about a patient.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

RUN_TAGS = ("run_id", "task")
"""Tags of every metric: the id of the run, and what it makes: `predictions`, `masks`, `scores`, or a kind of model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobMetric:
    """A metric, which a process registers with Ray when it first has a value for it."""

    name: str
    """Name without the prefix of Ray."""
    kind: Literal["counter", "gauge", "histogram"]
    """A `counter` adds up and never falls, a `gauge` is a value of the moment, a `histogram` counts values by size."""
    description: str
    """What is measured, and its unit."""
    tags: tuple[str, ...] = ()
    """Names of the tags besides `RUN_TAGS`."""
    buckets: tuple[float, ...] = ()
    """Upper limits of the buckets of a histogram."""

    @property
    def exported_names(self) -> tuple[str, ...]:
        """Names under which Prometheus finds the metric."""
        match self.kind:
            case "counter":
                return (f"ray_{self.name}_total",)
            case "gauge":
                return (f"ray_{self.name}",)
            case "histogram":
                return tuple(f"ray_{self.name}_{part}" for part in ("bucket", "count", "sum"))

    def record(self, value: float, tags: dict[str, str]) -> None:
        """Add a value to a counter, which ignores 0, set a gauge, or sort a value into a histogram.

        Args:
            value: the value.
            tags: a value for each of `RUN_TAGS` and of the metric's own tags.
        """
        metric = _registered(self)
        match self.kind:
            case "counter" if value > 0:
                metric.inc(value, tags)
            case "gauge":
                metric.set(value, tags)
            case "histogram":
                metric.observe(value, tags)


@cache
def _registered(metric: JobMetric) -> Any:
    from ray.util import metrics

    tags = (*RUN_TAGS, *metric.tags)
    if metric.kind == "histogram":
        return metrics.Histogram(metric.name, metric.description, list(metric.buckets), tags)
    kind = metrics.Counter if metric.kind == "counter" else metrics.Gauge
    return kind(metric.name, metric.description, tags)


SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

IMAGES = JobMetric(
    name="cxr_ray_images",
    kind="counter",
    description="Images that a model's actor has turned into rows, by status and kind of error",
    tags=("status", "error_kind"),
)
STAGE_IMAGES = JobMetric(
    name="cxr_ray_stage_images",
    kind="counter",
    description="Images that went through a stage: load (download, decode, resize), score (the models) or write",
    tags=("stage",),
)
STAGE_BUSY_SECONDS = JobMetric(
    name="cxr_ray_stage_busy_seconds",
    kind="counter",
    description="Seconds that the workers of a stage have worked, all of them together",
    tags=("stage",),
)
STAGE_SECONDS = JobMetric(
    name="cxr_ray_stage_seconds",
    kind="histogram",
    description="Seconds that a stage takes for one step: load for up to 256 images, score for a batch, write for a file",
    tags=("stage",),
    buckets=SECONDS,
)
BATCH_FILL = JobMetric(
    name="cxr_ray_batch_fill",
    kind="histogram",
    description="Images of a batch that reaches the models, as a fraction of the batch size",
    buckets=(0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0),
)
READ_BYTES = JobMetric(
    name="cxr_ray_read_bytes", kind="counter", description="Bytes of images that were downloaded or read from disks"
)
IMAGES_REMAINING = JobMetric(
    name="cxr_ray_images_remaining", kind="gauge", description="Images of the run that no model has scored yet"
)
IMAGES_WAITING = JobMetric(
    name="cxr_ray_images_waiting", kind="gauge", description="Images that are loaded and wait for a model"
)
TRAINING_EPOCH = JobMetric(
    name="cxr_ray_training_epoch", kind="gauge", description="Number of the last finished epoch; the first is 1"
)
TRAINING_LOSS = JobMetric(
    name="cxr_ray_training_loss",
    kind="gauge",
    description="Mean loss of the last finished epoch on the split train or val",
    tags=("split",),
)
TRAINING_IMAGES_PER_SECOND = JobMetric(
    name="cxr_ray_training_images_per_second",
    kind="gauge",
    description="Images per second of all workers in the training part of the last finished epoch",
)
TRAINING_EPOCH_SECONDS = JobMetric(
    name="cxr_ray_training_epoch_seconds",
    kind="gauge",
    description="Seconds of the last finished epoch, validation included",
)

METRICS = (
    *(IMAGES, STAGE_IMAGES, STAGE_BUSY_SECONDS, STAGE_SECONDS, BATCH_FILL, READ_BYTES),
    *(IMAGES_REMAINING, IMAGES_WAITING),
    *(TRAINING_EPOCH, TRAINING_LOSS, TRAINING_IMAGES_PER_SECOND, TRAINING_EPOCH_SECONDS),
)
"""Every metric of the jobs."""


def record_epoch(metrics: dict[str, Any], tags: dict[str, str]) -> None:
    """Set the gauges of a training from the metrics of an epoch; `tags` are the values of `RUN_TAGS`."""
    TRAINING_EPOCH.record(metrics["epoch"], tags)
    TRAINING_EPOCH_SECONDS.record(metrics["seconds"], tags)
    TRAINING_IMAGES_PER_SECOND.record(metrics["images_per_second"], tags)
    for split in ("train", "val"):
        TRAINING_LOSS.record(metrics[f"{split}_loss"], tags | {"split": split})


def record_step(stage: str, images: int, seconds: float, tags: dict[str, str]) -> None:
    """Record one step of a stage, which took `seconds` for `images` images; `tags` are the values of `RUN_TAGS`.

    A step is a table or a batch, and not an image, so that the cost does not grow with the speed of the models.
    """
    of_stage = tags | {"stage": stage}
    STAGE_IMAGES.record(images, of_stage)
    STAGE_BUSY_SECONDS.record(seconds, of_stage)
    STAGE_SECONDS.record(seconds, of_stage)
