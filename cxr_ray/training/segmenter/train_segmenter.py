"""Training of a segmenter on images and masks, through Ray Train."""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
from ray.actor import ActorHandle

from cxr_ray.archive.datasets import read_dataset, rows_of_split
from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import TrainSegmenterConfig
from cxr_ray.errors import ClusterError, DatasetError
from cxr_ray.models.segmenter_ensemble import SegmenterCard
from cxr_ray.training.object_store import memory_excess
from cxr_ray.training.ray_training import PreparedTask, Training, check_full_batches, run_training
from cxr_ray.training.segmenter.mask_cache import cache_masked_images
from cxr_ray.training.segmenter.mask_source import masks_fingerprint, teacher_masks, true_masks
from cxr_ray.training.segmenter.task import SegmenterTask
from cxr_ray.training.workers import scaling_of

log = logging.getLogger("cxr_ray")

LINE_METRICS = (("DSC", "val_dsc"),)


def train_segmenter(config: TrainSegmenterConfig) -> SegmenterCard:
    """Train on the masks of the train split, validate on the masks of the val split, write the ensemble to the output.

    The same command on the same output resumes after the last finished epoch.

    Raises:
        DatasetError: if there are no masks, a split is too small, or an image or mask cannot be read.
        ClusterError: if the cluster cannot hold the workers or the images.
        ResumeError: if the output holds another training.
        TrainingError: if the training diverges or its workers are lost too often.
    """
    config = replace(
        config,
        output_uri=absolute_uri(config.output_uri),
        masks_uri=absolute_uri(config.masks_uri) if config.masks_uri else None,
    )
    masked = masked_rows(config)
    rows = {split: masked_rows_of(masked, split) for split in ("train", "val")}
    check_full_batches(
        rows["train"].num_rows, "images with masks", batch_size=config.batch_size, workers=config.worker_range[1]
    )
    fingerprint = masks_fingerprint(pa.concat_tables(rows.values()))
    training = Training(
        config=config,
        task="segmenter",
        epochs=config.epochs,
        dataset_fingerprint=fingerprint,
        card_type=SegmenterCard,
        loop_per_worker=segmenter_loop_per_worker,
        prepare=partial(_prepare, config, rows, fingerprint),
        line_metrics=LINE_METRICS,
        summary=partial(_summary, config),
    )
    return run_training(training)


def masked_rows(config: TrainSegmenterConfig) -> pa.Table:
    """Select the rows of the dataset that have a mask to learn, with the `MASK_COLUMNS` of `mask_source`.

    Raises:
        DatasetError: if no row has a mask, or the masks at `config.masks_uri` cannot be used.
    """
    dataset = read_dataset(config.dataset_uri)
    if config.masks_uri is None:
        return true_masks(dataset)
    quantile, uncertain = config.uncertainty_quantile, config.uncertain
    return teacher_masks(dataset, config.masks_uri, quantile=quantile, uncertain=uncertain)


def masked_rows_of(masked: pa.Table, split: str) -> pa.Table:
    """Select the rows of one split from the rows with masks.

    Raises:
        DatasetError: if the split has no row.
    """
    if split not in masked["split"].to_pylist():
        raise DatasetError(
            f"no {split} image of the dataset has a mask to learn; mask more of them, or draw the splits again "
            "with prepare_dataset.py --split"
        )
    return rows_of_split(masked, split)


def _prepare(
    config: TrainSegmenterConfig, rows: dict[str, pa.Table], fingerprint: str, listener: ActorHandle
) -> PreparedTask:
    """Choose the workers' resources, and decode images and masks.

    Raises:
        ClusterError: if images and masks do not fit into the cluster's memory.
    """
    images = sum(table.num_rows for table in rows.values())
    if excess := memory_excess(images, config.image_size, what="images and masks", planes=2):
        raise ClusterError(f"{excess}; use larger nodes, fewer images or a smaller --image-size")
    scaling, threads = scaling_of(config, streams_images=False)
    cached = {split: cache_masked_images(table, image_size=config.image_size) for split, table in rows.items()}
    log.info("training on %s train and %s val images with masks", rows["train"].num_rows, rows["val"].num_rows)
    task = SegmenterTask(
        config=config,
        cached=cached,
        weights=rows["train"]["weight"].to_numpy(),
        dataset_fingerprint=fingerprint,
        threads=threads,
        listener=listener,
    )
    return PreparedTask(task=task, scaling=scaling)


def _summary(config: TrainSegmenterConfig, card: SegmenterCard, epochs: int) -> str:
    networks = f"{card.members} networks" if card.members > 1 else "one network"
    return (
        f"{card.model_id} in {config.output_uri}\n"
        f"{networks} from {epochs} epochs, val DSC of the last network {card.metrics['val_dsc']:.4f}"
    )


def segmenter_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """Run the task `loop_config["task"]` on a worker; only workers import the training loop."""
    from cxr_ray.training.segmenter.loop import train_segmenter_from_last_checkpoint

    train_segmenter_from_last_checkpoint(loop_config["task"])
