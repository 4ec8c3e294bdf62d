"""Images and masks to a student's bundle, through Ray Train."""

import logging
from dataclasses import replace
from typing import Any

import pyarrow as pa
from ray.train import Result

from cxr_ray.archive.datasets import read_dataset, rows_of_split
from cxr_ray.archive.uris import absolute_uri
from cxr_ray.cluster.session import ray_session
from cxr_ray.config import TrainSegmenterConfig
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.errors import ClusterError, DatasetError
from cxr_ray.models.bundle import read_card
from cxr_ray.models.student import StudentCard
from cxr_ray.training.epoch_lines import epoch_line, print_line
from cxr_ray.training.feed_choice import fits_memory
from cxr_ray.training.ray_training import epochs_reported, fit, publish
from cxr_ray.training.segmenter.mask_cache import cache_masked_images
from cxr_ray.training.segmenter.mask_source import masks_fingerprint, teacher_masks, true_masks
from cxr_ray.training.segmenter.task import SegmenterTask
from cxr_ray.training.training_output import TrainingOutput
from cxr_ray.training.workers import scaling_of

log = logging.getLogger("cxr_ray")

LINE_FIGURES = (("DSC", "val_dsc"),)
"""Titles and names of the metrics that stand in an epoch's line."""


def train_segmenter(config: TrainSegmenterConfig) -> StudentCard:
    """Train on the masks of the train split, judge by those of the val split, write the ensemble to the output.

    The same command on the same output goes on from the last epoch that was finished there.

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
    check_sizes(rows, config)
    fingerprint = masks_fingerprint(pa.concat_tables(rows.values()))
    output = TrainingOutput(config.output_uri, WorkIdentity.of(config, dataset=fingerprint))
    if output.is_finished(overwrite=config.overwrite):
        card = read_card(config.output_uri, StudentCard)
        print(f"{card.model_id} in {config.output_uri} was trained by this command before; --overwrite starts over")
        return card
    with ray_session():
        result = _fit(config, output, rows, fingerprint)
        return _publish(config, output, result)


def masked_rows(config: TrainSegmenterConfig) -> pa.Table:
    """Images of the dataset that have a mask to learn, with where it comes from."""
    dataset = read_dataset(config.dataset_uri)
    if config.masks_uri is None:
        return true_masks(dataset)
    quantile, uncertain = config.uncertainty_quantile, config.uncertain
    return teacher_masks(dataset, config.masks_uri, quantile=quantile, uncertain=uncertain)


def masked_rows_of(masked: pa.Table, split: str) -> pa.Table:
    """Those of one split.

    Raises:
        DatasetError: if there are none.
    """
    if split not in masked["split"].to_pylist():
        raise DatasetError(
            f"no {split} image of the dataset has a mask to learn; mask more of them, or draw the splits again by "
            "prepare_dataset.py --split"
        )
    return rows_of_split(masked, split)


def check_sizes(rows: dict[str, pa.Table], config: TrainSegmenterConfig) -> None:
    """Every step needs a full batch on each worker.

    Raises:
        DatasetError: naming the split.
    """
    most = config.worker_range[1]
    if rows["train"].num_rows < config.batch_size * most:
        raise DatasetError(
            f"{rows['train'].num_rows} train images with masks are too few for a --batch-size of {config.batch_size} "
            f"on each of {most} workers; lower one of them"
        )


def _fit(config: TrainSegmenterConfig, output: TrainingOutput, rows: dict[str, pa.Table], fingerprint: str) -> Result:
    images = sum(table.num_rows for table in rows.values())
    if not fits_memory(2 * images, config.image_size):
        gibibytes = 2 * images * config.image_size**2 / 2**30
        raise ClusterError(
            f"{images:,} images and masks of {config.image_size} px take {gibibytes:.1f} GiB, more than half of a node's "
            "object store; use larger nodes, fewer images or a smaller --image-size"
        )
    scaling, threads = scaling_of(config, shares_cpus=False)
    cached = {split: cache_masked_images(table, image_size=config.image_size) for split, table in rows.items()}
    log.info("%s train and %s val images with masks", rows["train"].num_rows, rows["val"].num_rows)

    def tell(metrics: dict[str, Any]) -> None:
        print_line(epoch_line(metrics, config.epochs, LINE_FIGURES))

    with epochs_reported(config.output_uri, (), tell) as listener:
        task = SegmenterTask(
            config=config,
            cached=cached,
            weights=rows["train"]["weight"].to_numpy(),
            dataset_fingerprint=fingerprint,
            threads=threads,
            listener=listener,
        )
        return fit(segmenter_loop_per_worker, task, output=output, scaling=scaling, max_failures=config.max_failures)


def _publish(config: TrainSegmenterConfig, output: TrainingOutput, result: Result) -> StudentCard:
    """Copy the ensemble's bundle to the output; write history and `run.json` beside it."""
    card, history = publish(config, output, result, StudentCard)
    networks = f"{card.members} networks" if card.members > 1 else "one network"
    print(
        f"{card.model_id} in {config.output_uri}\n"
        f"{networks} of {len(history)} epochs, val DSC of the last {card.metrics['val_dsc']:.4f}"
    )
    return card


def segmenter_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """Train `loop_config["task"]`, a `SegmenterTask`, from the last checkpoint on.

    The loop is imported in the worker alone: driver and controller load this function too, without models.
    """
    from cxr_ray.training.segmenter.loop import train_segmenter_from_last_checkpoint

    train_segmenter_from_last_checkpoint(loop_config["task"])
