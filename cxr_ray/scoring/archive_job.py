"""A job over an archive, whatever its models: index -> what is left to do -> pipeline -> committed Parquet blocks."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import ray
from ray.actor import ActorHandle

from cxr_ray.archive.run_record import new_run_id
from cxr_ray.archive.uris import absolute_uri
from cxr_ray.cluster.session import ray_session
from cxr_ray.config import ArchiveJobConfig
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.scoring.blocks import PlannedBlocks
from cxr_ray.scoring.input_manifest import manifest_of
from cxr_ray.scoring.output.claim import check_claim, claim_output
from cxr_ray.scoring.output.commit import write_committed
from cxr_ray.scoring.output.lock import output_lock
from cxr_ray.scoring.output.outcome import conclude
from cxr_ray.scoring.output.state import OutputState, plan_blocks
from cxr_ray.scoring.patient_secret import patient_secret
from cxr_ray.scoring.pool import ScoringPool, plan_pool
from cxr_ray.scoring.progress import shown_progress
from cxr_ray.scoring.stages.load import Geometry, LoadStage

log = logging.getLogger("cxr_ray")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One invocation of a job, as its pipeline sees it."""

    run_id: str
    blocks_uri: str
    """The images that are left to do."""
    pool: ScoringPool
    tally: ActorHandle


def run_archive_job(
    config: ArchiveJobConfig,
    *,
    table: str,
    identity: WorkIdentity,
    model_ids: Sequence[str],
    pipeline: Callable[[Run], "ray.data.Dataset"],
    carried: Sequence[str] = (),
    actors_per_group: int = 1,
) -> dict[str, int]:
    """Give every image of `config.input_uri` its row in `OUTPUT/table`, but for those that have one; rows by status.

    Args:
        config: archive, output and how to run.
        table: folder of the rows in the output.
        identity: of the rows, by `identity_of_rows`.
        model_ids: for `run.json`.
        pipeline: from the images left to do to their rows.
        carried: columns of strings in the manifest that the pipeline goes by.
        actors_per_group: of CPUs, as `plan_pool` has it.

    Raises:
        ResumeError: if another run writes to the output, or it holds rows that this job would make otherwise.
        ClusterError: if the cluster cannot hold the job.
        StorageError: if the input holds no image or lacks a column, or storage fails.
        GateError: at the end, all rows written, if too many images are errors.
    """
    run_id, started = new_run_id(), datetime.now(UTC)
    state = OutputState(absolute_uri(config.output_uri), table)
    with output_lock(state, run_id) as lock:
        if not config.overwrite:
            check_claim(state, identity)  # now, since starting Ray and listing an archive take their time
        with ray_session():
            pool = plan_pool(config.device, config.num_actors, actors_per_group)
            manifest_uri, images = manifest_of(config.input_uri, state.file_uri("manifest.parquet"), config.exclude)
            lock.check()
            claim_output(state, identity, overwrite=config.overwrite, keep=manifest_uri)
            block_rows = config.rows_per_block or default_block_rows(images)
            blocks_uri = state.plan_uri(run_id)
            left, done = plan_blocks(
                state,
                manifest_uri,
                blocks_uri,
                rows_per_block=block_rows,
                retry_errors=config.retry_errors,
                carried=carried,
            )
            log.info("run %s: %s images to score, %s done before", run_id, f"{left:,}", f"{done:,}")
            began = time.monotonic()
            if left:
                with shown_progress(left, config.progress_seconds, done=done) as tally:
                    fitted = pool.for_job(left, block_rows)
                    run = Run(run_id=run_id, blocks_uri=blocks_uri, pool=fitted, tally=tally)
                    write_committed(state, pipeline(run))
        lock.check()
        facts = {"run_id": run_id, "model_ids": list(model_ids), "pool": pool, "started": started}
        return conclude(state, config, scored=left, before=done, seconds=time.monotonic() - began, **facts)


def loaded_images(config: ArchiveJobConfig, run: Run, geometries: tuple[Geometry, ...]) -> "ray.data.Dataset":
    """The head of every pipeline: images downloaded, decoded and resized by tasks on CPUs."""
    blocks = PlannedBlocks(run.blocks_uri)
    load = LoadStage(
        geometries=geometries,
        limits=DecodeLimits(max_megapixels=config.max_megapixels, max_bytes=config.max_megabytes * 2**20),
        patient_key_secret=patient_secret(),
    )
    cpus = run.pool.cpus_per_load_task
    images = ray.data.read_datasource(blocks, override_num_blocks=blocks.count, num_cpus=cpus)
    return images.map_batches(load, batch_size=None, batch_format="pyarrow", num_cpus=cpus)


def scored_images(
    loaded: "ray.data.Dataset", run: Run, stage: type, arguments: dict[str, Any], *, batch_size: int
) -> "ray.data.Dataset":
    """The tail: batches through actors that each hold the models as `stage(**arguments)`."""
    return loaded.map_batches(
        TalliedStage,
        fn_constructor_kwargs={"stage": stage, "tally": run.tally, "arguments": arguments},
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=run.pool.actors, max_tasks_in_flight_per_actor=4),
        num_cpus=run.pool.cpus_per_actor,
        num_gpus=run.pool.gpus_per_actor,
    )


class TalliedStage:
    """Any stage that gives one row for each, and reports its progress.

    The stage lives in a thread of its own: Ray Data calls from a new one for every few batches, in which torch would
    start its OpenMP threads anew and find none of the memory that the last one freed.
    """

    def __init__(self, *, stage: type, tally: ActorHandle, arguments: dict[str, Any]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._stage = self._thread.submit(stage, **arguments).result()
        self._tally = tally

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of the stage."""
        began = time.monotonic()
        rows: pa.Table = self._thread.submit(self._stage, batch).result()
        errors = rows.num_rows - rows["error_kind"].null_count
        self._tally.add.remote(rows.num_rows, errors, time.monotonic() - began)
        return rows


def default_block_rows(images: int) -> int:
    """A fiftieth of the job, between 64 and 8,192 images."""
    return min(8192, max(64, -(-images // 50)))
