"""Measurement of what an image of an archive costs: loading by kind of image, the forward pass, and the start of the job."""

import io
import math
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import join_uri
from cxr_ray.benchmarks.archive_sample import Stratum
from cxr_ray.benchmarks.planned_job import PlannedJob
from cxr_ray.imaging.decoder_fence import FILES_AHEAD, fence_of_this_thread
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.pool import ScoringPool
from cxr_ray.scoring.stages.load import LoadStage

FORWARD_SECONDS = 10.0
"""Minimum duration of the measurement of the forward pass, which goes over the sample again until then."""
WARM_UP_BATCHES = 3
"""Number of batches before the measurement, in which memory is allocated and traced networks are optimised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean, with its standard error from a random sample."""

    mean: float
    error: float = 0.0
    """Standard error of the mean; 0 if it is not known."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Estimate from independent values, at least one; a single one has no known error."""
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
        return cls(mean=statistics.fmean(values), error=error)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadCost:
    """What it costs to load an image of one kind: to download, hash, decode and resize it."""

    format: str
    """Format of the images."""
    size: str
    """Class of the size of the files."""
    images: int
    """Number of images of this kind in the archive."""
    sampled: int
    """Number of images that were measured."""
    errors: int
    """Number of these that could not be decoded."""
    megapixels: float | None
    """Median of the megapixels of an image; None if none could be decoded."""
    cpu_seconds: Estimate
    """Seconds of one core per image, those of the decoder's process included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardCost:
    """What it costs an actor to turn loaded images into rows, and what it costs to write the rows."""

    seconds: Estimate
    """Seconds per image of one actor with all of its threads."""
    write_seconds: float
    """Seconds of one core per image for writing its row as Parquet."""


def measure_loading(job: PlannedJob, strata: Sequence[Stratum]) -> tuple[list[LoadCost], pa.Table]:
    """Load the sample of each kind in this process; the costs, and the loaded rows of all kinds.

    A first group of images is loaded and not counted, because it starts the decoder.
    """
    stage = LoadStage(geometries=job.geometries, limits=DecodeLimits(), patient_secret=PatientSecret(b"plan"))
    list(stage(strata[0].sample.slice(0, FILES_AHEAD)))
    costs, loaded = [], []
    for stratum in strata:
        tables: list[pa.Table] = []
        seconds: list[float] = []
        for start in range(0, stratum.sample.num_rows, FILES_AHEAD):
            group = stratum.sample.slice(start, FILES_AHEAD)
            before = _cpu_seconds()
            tables += list(stage(group))
            if group.num_rows == FILES_AHEAD or not seconds:  # a smaller group at the end would count as a whole one
                seconds.append((_cpu_seconds() - before) / group.num_rows)
        costs.append(_load_cost(stratum, pa.concat_tables(tables), Estimate.of(seconds)))
        loaded += tables
    return costs, pa.concat_tables(loaded)


def _load_cost(stratum: Stratum, rows: pa.Table, cpu_seconds: Estimate) -> LoadCost:
    sizes = [w * h / 1e6 for w, h in zip(*(rows[name].to_pylist() for name in ("width", "height")), strict=True) if w]
    return LoadCost(
        format=stratum.format,
        size=stratum.size,
        images=stratum.images,
        sampled=rows.num_rows,
        errors=rows["status"].to_pylist().count("error"),
        megapixels=statistics.median(sizes) if sizes else None,
        cpu_seconds=cpu_seconds,
    )


def _cpu_seconds() -> float:
    """CPU seconds of this process, of its children that have ended and of its decoder."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + fence_of_this_thread().cpu_seconds()


def measure_forward(job: PlannedJob, pool: ScoringPool, loaded: pa.Table) -> ForwardCost:
    """Turn loaded rows into rows of the job in this process, for `FORWARD_SECONDS` or once; torch keeps its threads.

    Args:
        job: the job.
        pool: the actors of the job on this machine.
        loaded: rows of `LoadStage`.
    """
    stage, size = job.stage(pool.device, pool.threads_per_actor), job.batch_sizes[pool.device]
    batches = [batch.combine_chunks() for batch in _batches(loaded, size)]
    for place in range(WARM_UP_BATCHES):
        rows = stage(batches[place % len(batches)])
    seconds: list[float] = []
    while sum(seconds) * size < FORWARD_SECONDS:
        for batch in batches:
            started = time.perf_counter()
            rows = stage(batch)
            seconds.append((time.perf_counter() - started) / batch.num_rows)
    started = time.perf_counter()
    pq.write_table(rows, io.BytesIO(), compression="zstd")
    return ForwardCost(
        seconds=Estimate.of(seconds), write_seconds=(time.perf_counter() - started) / max(1, rows.num_rows)
    )


def _batches(rows: pa.Table, size: int) -> Iterator[pa.Table]:
    """Divide rows into whole batches, or into one smaller batch if there are too few for one."""
    for start in range(0, max(1, rows.num_rows // size) * size, size):
        yield rows.slice(start, size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A run of the whole job over the sample."""

    images: int
    """Number of its images."""
    seconds: float
    """Its duration in seconds, from the command to its end."""


def try_job(job: PlannedJob, strata: Sequence[Stratum]) -> Trial:
    """Run the whole job over the sample, whose images of all kinds are mixed.

    A few batches would not do: the first ones are slow, because networks are still optimised while processes start.

    Raises:
        WorkerError: if the job fails.
    """
    sample = pa.concat_tables([stratum.sample for stratum in strata])
    mixed = sample.take(np.random.default_rng(0).permutation(sample.num_rows))
    with tempfile.TemporaryDirectory() as folder:
        manifest = join_uri(folder, "manifest.parquet")
        write_table(mixed, manifest)
        return Trial(images=mixed.num_rows, seconds=job.seconds_of(manifest, join_uri(folder, "output")))
