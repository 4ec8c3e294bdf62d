"""An archive to predictions: index -> what is left to do -> load -> score -> committed Parquet blocks."""

import logging
import shlex
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
import ray
from ray.actor import ActorHandle

from cxr_ray.archive.run_record import new_run_id
from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import ClassifyConfig
from cxr_ray.errors import BundleError
from cxr_ray.imaging.decode import DecodeLimits
from cxr_ray.models.bundle import ModelCard, read_card
from cxr_ray.scoring.commit import write_committed
from cxr_ray.scoring.input_manifest import manifest_of
from cxr_ray.scoring.load_stage import Geometry, LoadStage
from cxr_ray.scoring.outcome import conclude
from cxr_ray.scoring.output_claim import JobSignature, check_claim, claim_output
from cxr_ray.scoring.output_lock import output_lock
from cxr_ray.scoring.output_state import OutputState, plan_blocks
from cxr_ray.scoring.patient_secret import patient_secret
from cxr_ray.scoring.pool import ScoringPool, plan_pool
from cxr_ray.scoring.progress import shown_progress
from cxr_ray.scoring.score_stage import ScoreStage, joint_model_id
from cxr_ray.scoring.session import ray_session

log = logging.getLogger("cxr_ray")


def classify_archive(config: ClassifyConfig) -> dict[str, int]:
    """Score every image of `config.input_uri` that has no row in `config.output_uri` yet; rows by status.

    Raises:
        BundleError: if a bundle is missing, or the bundles' labels differ.
        ResumeError: if another run writes to the output, or it holds the work of another model, archive or setting.
        ClusterError: if the cluster cannot hold the job.
        StorageError: if the input holds no image, or storage fails.
        GateError: at the end, all rows written, if too many images are errors.
    """
    cards = read_cards(config.model_uri)
    run_id, started = new_run_id(), datetime.now(UTC)
    state = OutputState(absolute_uri(config.output_uri), "predictions")
    signature = _signature(config, cards)
    with output_lock(state, run_id) as lock:
        if not config.overwrite:
            check_claim(state, signature)  # now, since starting Ray and listing an archive take their time
        with ray_session():
            pool = plan_pool(config.device, config.num_actors)
            manifest_uri, images = manifest_of(config.input_uri, state.file_uri("manifest.parquet"), config.exclude)
            lock.check()
            claim_output(state, signature, overwrite=config.overwrite, keep=manifest_uri)
            block_rows = config.rows_per_block or default_block_rows(images)
            blocks_uri = state.plan_uri(run_id)
            left, done = plan_blocks(
                state, manifest_uri, blocks_uri, rows_per_block=block_rows, retry_errors=config.retry_errors
            )
            log.info("run %s: %s images to score, %s done before", run_id, f"{left:,}", f"{done:,}")
            began = time.monotonic()
            if left:
                with shown_progress(left, config.progress_seconds) as tally:
                    write_committed(
                        state,
                        _pipeline(config, cards=cards, pool=pool, blocks_uri=blocks_uri, run_id=run_id, tally=tally),
                    )
        lock.check()
        facts = {"run_id": run_id, "model_ids": [c.model_id for c in cards], "pool": pool, "started": started}
        return conclude(state, config, scored=left, before=done, seconds=time.monotonic() - began, **facts)


def _pipeline(
    config: ClassifyConfig,
    *,
    cards: list[ModelCard],
    pool: ScoringPool,
    blocks_uri: str,
    run_id: str,
    tally: ActorHandle,
) -> "ray.data.Dataset":
    """The whole job, top to bottom."""
    from cxr_ray.scoring.blocks import PlannedBlocks

    blocks = PlannedBlocks(blocks_uri)
    load = LoadStage(
        geometries=geometries(cards),
        limits=DecodeLimits(max_megapixels=config.max_megapixels, max_bytes=config.max_megabytes * 2**20),
        patient_key_secret=patient_secret(),
    )
    score = {
        "model_uris": tuple(map(absolute_uri, config.model_uri)),
        "device": pool.device,
        "precision": config.precision,
        "threads": pool.threads_per_actor,
        "run_id": run_id,
    }
    return (
        ray.data.read_datasource(blocks, override_num_blocks=blocks.count, num_cpus=pool.cpus_per_load_task)
        .map_batches(load, batch_size=None, batch_format="pyarrow", num_cpus=pool.cpus_per_load_task)
        .map_batches(
            TalliedScoreStage,
            fn_constructor_kwargs={"tally": tally, **score},
            batch_size=config.batch_size or (256 if pool.device == "cuda" else 32),
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=pool.actors, max_tasks_in_flight_per_actor=4),
            num_cpus=pool.cpus_per_actor,
            num_gpus=pool.gpus_per_actor,
        )
    )


class TalliedScoreStage(ScoreStage):
    """A `ScoreStage` that reports its progress."""

    def __init__(self, *, tally: ActorHandle, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self.tally = tally

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See `ScoreStage`."""
        rows = super().__call__(batch)
        self.tally.add.remote(rows.num_rows, rows.num_rows - rows["error_kind"].null_count)
        return rows


def read_cards(model_uris: Sequence[str]) -> list[ModelCard]:
    """Cards of all bundles.

    Raises:
        BundleError: if a bundle is missing or damaged, or the bundles do not predict the same labels in one order.
    """
    cards = [read_card(uri) for uri in model_uris]
    for uri, card in zip(model_uris, cards, strict=True):
        if card.labels != cards[0].labels:
            raise BundleError(
                f"{uri} predicts {card.labels}, {model_uris[0]} predicts {cards[0].labels}; score them apart"
            )
    return cards


def geometries(cards: list[ModelCard]) -> tuple[Geometry, ...]:
    """What the models want, each once: models of one geometry share their pixels."""
    return tuple(dict.fromkeys(Geometry(image_size=c.image_size, interpolation=c.interpolation) for c in cards))


def default_block_rows(images: int) -> int:
    """A fiftieth of the job, between 64 and 8,192 images."""
    return min(8192, max(64, -(-images // 50)))


def _signature(config: ClassifyConfig, cards: list[ModelCard]) -> JobSignature:
    return JobSignature(
        input_uri=absolute_uri(config.input_uri).rstrip("/"),
        model=joint_model_id([c.model_id for c in cards]),
        preprocessing="+".join(c.preprocessing_id for c in cards),
        precision=config.precision,
        exclude=shlex.join(sorted(set(config.exclude))),
    )
