"""Training of a classifier on a dataset, through Ray Train."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.actor import ActorHandle

from cxr_ray.archive.datasets import dataset_fingerprint, rows_of_split
from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import TrainClassifierConfig
from cxr_ray.config.terminal import print_line
from cxr_ray.config.training import REFERENCE_BATCH
from cxr_ray.errors import ConfigError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.starting_weights import check_starting_weights
from cxr_ray.training.cached_feed import cache_pixels
from cxr_ray.training.classifier.objective import Objective, refuse_small_splits
from cxr_ray.training.classifier.objectives import objective_of
from cxr_ray.training.classifier.task import ClassifierTask
from cxr_ray.training.learning_rate import peak_learning_rate
from cxr_ray.training.object_store import memory_excess
from cxr_ray.training.ray_training import PreparedTask, Training, run_training
from cxr_ray.training.streamed_feed import streamed_images
from cxr_ray.training.workers import scaling_of

log = logging.getLogger("cxr_ray")

LINE_METRICS = (("accuracy", "val_accuracy"), ("macro F1", "val_macro_f1"), ("AUROC", "val_auroc"))


def train_classifier(config: TrainClassifierConfig, show: Callable[[str], object] = print_line) -> ModelCard:
    """Train on the train split, choose the best epoch by the val split, write its bundle to `config.output_uri`.

    The same command on the same output resumes after the last finished epoch.

    Args:
        config: the dataset, the recipe and the output.
        show: function that is called with a line for each epoch, and at the end with the summary.

    Raises:
        BundleError: if the weights to start from cannot be read, or are not those of the backbone.
        DatasetError: if a split is too small, an image has no label, all have the same one, or an image cannot be read.
        ClusterError: if the cluster cannot hold the workers.
        ConfigError: if an option names a finding that the dataset lacks, or images are to be drawn by class, but do not fit into the cluster's memory.
        ResumeError: if the output holds another training.
        TrainingError: if the training diverges or its workers are lost too often.
    """
    config = replace(config, output_uri=absolute_uri(config.output_uri))
    objective_type = objective_of(config)
    dataset = objective_type.read(config.dataset_uri)
    objective = objective_type(config, dataset)
    rows = {split: rows_of_split(dataset, split) for split in ("train", "val")}
    refuse_small_splits(rows, workers=config.worker_range[1])
    objective.check(rows)
    if config.weights_uri:
        check_starting_weights(config.weights_uri, backbone=config.backbone)
    fingerprint = dataset_fingerprint(dataset)
    training = Training(
        config=config,
        task="classifier",
        epochs=config.epochs,
        dataset_fingerprint=fingerprint,
        card_type=objective.card_type,
        loop_per_worker=train_loop_per_worker,
        prepare=partial(_prepare, config, rows, objective, fingerprint),
        line_metrics=LINE_METRICS,
        summary=partial(_summary, config, objective),
        labels=objective.labels,
    )
    return run_training(training, show)


def _prepare(
    config: TrainClassifierConfig,
    rows: dict[str, pa.Table],
    objective: Objective,
    fingerprint: str,
    listener: ActorHandle,
) -> PreparedTask:
    """Choose the feed and the workers' resources, and decode the images if they fit into the cluster's memory."""
    is_cached = _fits_memory(config, sum(table.num_rows for table in rows.values()))
    scaling, threads = scaling_of(config, streams_images=not is_cached)
    counts = {split: table.num_rows for split, table in rows.items()}
    log.info(
        "training on %s train and %s val images of %s labels", counts["train"], counts["val"], len(objective.labels)
    )
    log.info(_rate_line(config))
    task = ClassifierTask(
        config=config,
        objective=objective,
        targets={split: objective.targets(table, split) for split, table in rows.items()},
        cached=_cached(config, rows) if is_cached else None,
        dataset_fingerprint=fingerprint,
        threads=threads,
        listener=listener,
    )
    return PreparedTask(task=task, scaling=scaling, streams=None if is_cached else _streams(config, rows))


def _fits_memory(config: TrainClassifierConfig, images: int) -> bool:
    """Whether the images should be decoded once into the cluster's memory.

    Raises:
        ConfigError: if the images do not fit into memory, but the recipe draws them by class, which needs memory.
    """
    if config.feed != "auto":
        return config.feed == "cache"
    excess = memory_excess(images, config.image_size)
    if excess and config.class_balance == "sampling":
        raise ConfigError(
            f"class_balance sampling draws from images in memory, and {excess}; use class_balance loss, larger nodes or "
            "a smaller --image-size"
        )
    return not excess


def _cached(config: TrainClassifierConfig, rows: dict[str, pa.Table]) -> dict[str, list[ray.ObjectRef]]:
    return {split: cache_pixels(table, image_size=config.image_size) for split, table in rows.items()}


def _streams(config: TrainClassifierConfig, rows: dict[str, pa.Table]) -> dict[str, "ray.data.Dataset"]:
    shuffle_seeds = {"train": config.seed, "val": None}
    return {
        split: streamed_images(table, image_size=config.image_size, shuffle_seed=shuffle_seeds[split])
        for split, table in rows.items()
    }


def _rate_line(config: TrainClassifierConfig) -> str:
    minimum, maximum = config.worker_range
    per_worker = config.batch_size * config.accumulate
    steps = [
        f"{peak_learning_rate(config, n * per_worker):.2g} for {n * per_worker}" for n in sorted({minimum, maximum})
    ]
    reference = f"{peak_learning_rate(config, REFERENCE_BATCH):.2g} for {REFERENCE_BATCH}"
    return f"peak learning rate {' to '.join(steps)} images per step ({reference})"


def _summary(config: TrainClassifierConfig, objective: Objective, card: ModelCard, epochs: int) -> str:
    return (
        f"{card.model_id} in {config.output_uri}\n"
        f"best of {epochs} epochs: epoch {card.metrics['epoch']}, {objective.summary(card)}"
    )


def train_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """Run the task `loop_config["task"]` on a worker; only workers import the training loop."""
    from cxr_ray.training.classifier.loop import train_from_last_checkpoint

    train_from_last_checkpoint(loop_config["task"])
