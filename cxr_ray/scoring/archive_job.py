"""The steps of every job over an archive: list images -> plan blocks -> run the pipeline -> commit rows to Parquet."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.actor import ActorHandle

from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.kept_log import kept_log
from cxr_ray.archive.output_lock import output_lock
from cxr_ray.archive.run_record import RunRecord, new_run_id
from cxr_ray.archive.storage_check import check_storage
from cxr_ray.archive.uris import absolute_uri
from cxr_ray.cluster.patience import Patience, amount
from cxr_ray.cluster.session import ray_session
from cxr_ray.config import ArchiveJobConfig
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.quality.orientation import read_orientation
from cxr_ray.scoring.blocks import PlannedBlocks, default_block_rows
from cxr_ray.scoring.growing_pool import GrowingPool
from cxr_ray.scoring.input_manifest import images_of_job
from cxr_ray.scoring.lost_workers import (
    ACTOR_OPTIONS,
    TASK_OPTIONS,
    lost_workers_named,
    outlived_nodes,
    without_deprecations,
)
from cxr_ray.scoring.output.claim import check_claim, claim_output
from cxr_ray.scoring.output.commit import WRITE_OPTIONS, write_committed
from cxr_ray.scoring.output.outcome import conclude
from cxr_ray.scoring.output.planning import plan_blocks
from cxr_ray.scoring.output.state import OutputState
from cxr_ray.scoring.patient_secret import patient_secret
from cxr_ray.scoring.pieces import PiecedLoad, keep_pieces, most_rows
from cxr_ray.scoring.pool import ScoringPool, plan_pool
from cxr_ray.scoring.progress import shown_progress
from cxr_ray.scoring.stage_metrics import LoadedNote, StageMetrics
from cxr_ray.scoring.stages.load import Geometry, LoadStage
from cxr_ray.scoring.tallied_stage import TalliedFinish, TalliedStage
from cxr_ray.scoring.watched_run import progress_of, watched_run

log = logging.getLogger("cxr_ray")

MOST_ROUNDS = 20
"""Times that images without a row are scored: what a lost worker had begun may be gone with what was noted of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What the pipeline of a job needs to know about one invocation of the job."""

    run_id: str
    """Id of the run, which every row names."""
    blocks_uri: str
    """URI of the Parquet file of the images that are left to score, one row group per block."""
    pool: ScoringPool
    """The actors and CPUs of the run."""
    tally: ActorHandle
    """Actor that counts the images and errors of the run."""


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
    """Write a row to `OUTPUT/table` for every image that has none yet; returns the number of rows by status.

    The result also counts error rows by kind, under keys `error:KIND`.

    Args:
        config: config with the archive, the output and the options of the run.
        table: name of the folder of the rows in the output.
        identity: identity of the rows, made by `identity_of_rows`.
        model_ids: ids of all models, which `run.json` records.
        pipeline: builds, from a run, the dataset of the rows of its images.
        carried: names of string columns of the manifest that the pipeline needs.
        actors_per_group: number of actors that share up to 8 CPUs of a node, see `plan_pool`.

    Raises:
        ResumeError: if another run writes to the output, or the output holds rows of other work.
        ClusterError: if no cluster answers, or the cluster is too small for the job.
        ConfigError: if `exclude` is given with a manifest, the output is the folder of the input, or the file of the patient
            secret is empty.
        StorageError: if the input holds no image or lacks a column, or storage fails.
        WorkerError: if a stage fails, or workers are lost again and again over the same images.
        GateError: if too many images are errors; all rows are written before it is raised.
    """
    require_other_place(config.output_uri, input_uri=config.input_uri)
    run_id, started = new_run_id(), datetime.now(UTC)
    state = OutputState(absolute_uri(config.output_uri), table, config.shard)
    check_storage(read=[config.input_uri], write=state.uri)
    actors = partial(plan_pool, config.device, config.num_actors, config.num_gpus_per_actor, actors_per_group)
    with output_lock(state, run_id) as lock:
        if not config.overwrite:
            check_claim(state, identity)  # fails before Ray is started and the archive is listed, which take long
        facts = {"run_id": run_id, "model_ids": list(model_ids), "started": started}
        with (
            kept_log(state.uri, run_id),
            RunRecord(state.record_folder_uri, config, is_owner=lambda: lock.lost is None, **facts) as record,
        ):
            with ray_session():
                manifest, left, before, seconds = _score_missing(
                    state,
                    config,
                    identity,
                    pipeline,
                    record,
                    plan_actors=actors,
                    carried=carried,
                    check=lock.check,
                )
            lock.check()
            rate = config.max_error_rate
            return conclude(state, record, manifest, scored=left, before=before, seconds=seconds, max_error_rate=rate)


def _score_missing(
    state: OutputState,
    config: ArchiveJobConfig,
    identity: WorkIdentity,
    pipeline: Callable[[Run], "ray.data.Dataset"],
    record: RunRecord,
    *,
    plan_actors: Callable[[], ScoringPool],
    carried: Sequence[str],
    check: Callable[[], None],
) -> tuple[str, int, int, float]:
    """List the archive, claim the output, and score the images that have no row.

    Returns:
        The URI of the manifest, the number of images that were scored and of rows that there were before, and the seconds.
    """
    run_id, pool = record.facts["run_id"], plan_actors()
    manifest, images = images_of_job(config, state)
    check()
    claim_output(state, identity, overwrite=config.overwrite, keep=manifest)
    block_rows = config.rows_per_block or default_block_rows(images, pool.load_slots)
    plan = partial(plan_blocks, state, manifest, state.plan_uri(run_id), rows_per_block=block_rows, carried=carried)
    left, before = plan(retry_errors=config.retry_errors)
    log.info("run %s: %s images to score, %s done before", run_id, f"{left:,}", f"{before:,}")
    began, pool = time.monotonic(), pool.for_job(left, config.rows_per_block)
    run_with = partial(Run, run_id=run_id, blocks_uri=state.plan_uri(run_id))
    again = partial(plan, retry_errors=False), plan_actors
    _score_in_rounds(state, config, pipeline, run_with, record, pool=pool, again=again, missing=left, done=before)
    return manifest, left, before, time.monotonic() - began


def _score_in_rounds(
    state: OutputState,
    config: ArchiveJobConfig,
    pipeline: Callable[[Run], "ray.data.Dataset"],
    run_with: Callable[..., Run],
    record: RunRecord,
    *,
    pool: ScoringPool,
    again: tuple[Callable[[], tuple[int, int]], Callable[[], ScoringPool]],
    missing: int,
    done: int,
) -> None:
    """Score the images of a plan; as long as some have no row after it, plan images and actors `again` and score those."""
    plan, plan_actors = again
    tags = {"run_id": record.facts["run_id"], "task": state.table}
    for _ in range(MOST_ROUNDS):
        record.facts["pool"] = asdict(pool)
        record.renew(**progress_of(0, None, {}, left=missing, done=done))
        if not missing:
            return
        patience = _patience(config, pool)
        with (
            outlived_nodes(),
            shown_progress(
                missing,
                config.progress_seconds,
                done=done,
                waiting=patience.said,
                metrics=StageMetrics(tags=tags),
            ) as tally,
            lost_workers_named(tally),
            watched_run(tally, record, tags, left=missing, done=done),
        ):
            growing = GrowingPool(pool, tally, images=missing, grow_minutes=config.grow_minutes, patience=patience)
            write_committed(state, pipeline(run_with(pool=pool, tally=tally)), tally, growing)
        missing, done = plan()
        if missing:
            log.warning("%s images have no row yet, because workers were lost; they come again", f"{missing:,}")
            pool = plan_actors().for_job(missing, config.rows_per_block)


def _patience(config: ArchiveJobConfig, pool: ScoringPool) -> Patience:
    return Patience(
        config.max_wait_minutes,
        wanted=amount(pool.cpus_per_actor, pool.gpus_per_actor),
        fix="look at `ray status` and at the quota of the group of nodes"
        + (", use --device cpu" if pool.device == "cuda" else ""),
    )


def scored_images(
    config: ArchiveJobConfig,
    run: Run,
    geometries: tuple[Geometry, ...],
    stage: type,
    arguments: dict[str, Any],
    *,
    batch_size: int,
    finish: Callable[[pa.Table], pa.Table] | None = None,
) -> "ray.data.Dataset":
    """Build the pipeline of a job: tasks on CPUs that load the images of a run, and actors that turn them into rows.

    Args:
        config: config with the maximum sizes of an image.
        run: the run, whose blocks name the images, and which says how many actors there are and what they reserve.
        geometries: the geometries in which the models take each image.
        stage: class of the stage that each actor holds.
        arguments: keyword arguments of `stage`.
        batch_size: number of images of a batch, 1 or more.
        finish: stage that finishes the rows of `stage`, in the tasks that write them, see `TalliedFinish`; None if they
            are finished.

    Returns:
        A dataset of the rows of `stage`, one for each image.

    Raises:
        ConfigError: if the file of the patient secret is empty.
    """
    with without_deprecations():
        rows = _loaded_images(config, run, geometries, batch_size).map_batches(
            TalliedStage,
            fn_constructor_kwargs={
                "stage": stage,
                "tally": run.tally,
                "batch_size": batch_size,
                "arguments": arguments,
            },
            batch_size=batch_size,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                min_size=run.pool.actors, max_size=run.pool.most_actors, max_tasks_in_flight_per_actor=4
            ),
            num_cpus=run.pool.cpus_per_actor,
            num_gpus=run.pool.gpus_per_actor,
            **ACTOR_OPTIONS,
        )
        if finish is None:
            return rows
        tallied = TalliedFinish(finish, run.tally)
        return rows.map_batches(tallied, batch_size=None, batch_format="pyarrow", **WRITE_OPTIONS)


def _loaded_images(
    config: ArchiveJobConfig, run: Run, geometries: tuple[Geometry, ...], batch_size: int
) -> "ray.data.Dataset":
    """Build the tasks that download, decode and resize the images of a run: a dataset of the rows of `LoadStage`."""
    blocks = PlannedBlocks(run.blocks_uri)
    load = LoadStage(
        geometries=geometries,
        limits=DecodeLimits(
            max_megapixels=config.max_megapixels,
            max_bytes=config.max_megabytes * 2**20,
            max_seconds=config.max_decode_seconds,
        ),
        patient_secret=patient_secret(),
        orientation=read_orientation(config.orientation_uri),
        on_table=LoadedNote(run.tally),
    )
    keep_pieces()
    cpus = run.pool.cpus_per_load_task
    images = ray.data.read_datasource(
        blocks, override_num_blocks=blocks.count, num_cpus=cpus, ray_remote_args=TASK_OPTIONS
    )
    return images.map_batches(
        PiecedLoad(load, run.tally, batch_size=batch_size, most=most_rows(geometries)),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=cpus,
        **TASK_OPTIONS,
    )
