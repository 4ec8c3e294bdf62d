"""A dataset to a model bundle, through Ray Train."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.train import Result

from cxr_ray.archive.datasets import dataset_fingerprint, read_dataset, rows_of_split
from cxr_ray.archive.uris import absolute_uri
from cxr_ray.cluster.session import ray_session
from cxr_ray.config import TrainClassifierConfig
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.config.training import REFERENCE_BATCH
from cxr_ray.errors import ConfigError, DatasetError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.schema import probability_column
from cxr_ray.training.cached_feed import cache_pixels
from cxr_ray.training.classifier.task import ClassifierTask
from cxr_ray.training.epoch_lines import epoch_line, print_line
from cxr_ray.training.feed_choice import fits_memory
from cxr_ray.training.learning_rate import peak_learning_rate
from cxr_ray.training.ray_training import epochs_reported, fit, publish
from cxr_ray.training.streamed_feed import streamed_images
from cxr_ray.training.training_output import TrainingOutput
from cxr_ray.training.workers import scaling_of

log = logging.getLogger("cxr_ray")


def train_classifier(config: TrainClassifierConfig, show: Callable[[str], object] = print_line) -> ModelCard:
    """Train on the dataset's train split, choose the epoch by its val split, write the bundle to `config.output_uri`.

    The same command on the same output goes on from the last epoch that was finished there.

    Args:
        config: what to train on, what, how and where to.
        show: called with a line for each epoch, and with the summary.

    Raises:
        DatasetError: if a split is too small, fewer than two classes are labelled, or an image cannot be read.
        ClusterError: if the cluster cannot hold the workers.
        ConfigError: if images that do not fit its memory are to be drawn by class.
        ResumeError: if the output holds another training.
        TrainingError: if the training diverges or its workers are lost too often.
    """
    config = replace(config, output_uri=absolute_uri(config.output_uri))
    dataset = read_dataset(config.dataset_uri)
    labels = class_labels(dataset)
    rows = {split: rows_of_split(dataset, split) for split in ("train", "val")}
    check_sizes(rows, labels, workers=config.worker_range[1])
    fingerprint = dataset_fingerprint(dataset)
    output = TrainingOutput(config.output_uri, WorkIdentity.of(config, dataset=fingerprint))
    if card := output.claim(overwrite=config.overwrite):
        show(f"{card.model_id} in {config.output_uri} was trained by this command before; --overwrite starts over")
        return card
    with ray_session():

        def tell(metrics: dict[str, Any]) -> None:
            show(epoch_line(metrics, config.epochs))

        with epochs_reported(config.output_uri, labels, tell) as listener:
            result = _fit(config, output, rows, labels=labels, fingerprint=fingerprint, listener=listener)
        card, history = publish(config, output, result, ModelCard)
        show(_summary(config, card, history))
        return card


def class_labels(dataset: pa.Table) -> tuple[str, ...]:
    """Class names in the order of the outputs: alphabetical.

    Raises:
        DatasetError: if an image has no label, all have the same, or two labels differ in case or spaces alone.
    """
    if dataset["label"].null_count:
        raise DatasetError(f"{dataset['label'].null_count} images have no label; a classifier needs one for each")
    labels = tuple(sorted(set(dataset["label"].to_pylist())))
    if len(labels) < 2:
        raise DatasetError(f"all images are labelled {labels[0]!r}; a classifier needs two classes or more")
    columns = [probability_column(label) for label in labels]
    if repeated := [label for label, column in zip(labels, columns, strict=True) if columns.count(column) > 1]:
        raise DatasetError(
            f"labels {', '.join(repeated)} would share a column of the predictions; spell them apart or alike"
        )
    return labels


def check_sizes(rows: dict[str, pa.Table], labels: tuple[str, ...], *, workers: int) -> None:
    """Every worker needs images, and every class some to learn from.

    Raises:
        DatasetError: naming the split or the class.
    """
    for split, table in rows.items():
        if table.num_rows < 2 * workers:
            raise DatasetError(
                f"{table.num_rows} {split} images are too few for {workers} workers; two each are needed"
            )
    if unseen := set(labels) - set(rows["train"]["label"].to_pylist()):
        raise DatasetError(f"no train image is labelled {', '.join(sorted(unseen))}; prepare the dataset again")


def targets_of(rows: pa.Table, labels: tuple[str, ...]) -> np.ndarray:
    """Class index of every row, int64 [N]."""
    return np.array([labels.index(label) for label in rows["label"].to_pylist()], np.int64)


def _fit(
    config: TrainClassifierConfig,
    output: TrainingOutput,
    rows: dict[str, pa.Table],
    *,
    labels: tuple[str, ...],
    fingerprint: str,
    listener: ActorHandle,
) -> Result:
    images = sum(table.num_rows for table in rows.values())
    is_cached = config.feed == "cache" or (config.feed == "auto" and fits_memory(images, config.image_size))
    if not is_cached and config.class_balance == "sampling":
        raise ConfigError(
            f"class_balance sampling draws from images in memory, and {images:,} of {config.image_size} px would fill more "
            "than half of a node's object store; use class_balance loss, larger nodes or a smaller --image-size"
        )
    scaling, threads = scaling_of(config, shares_cpus=not is_cached)
    log.info("%s train and %s val images of %s classes", rows["train"].num_rows, rows["val"].num_rows, len(labels))
    log.info(_rate_line(config))
    task = ClassifierTask(
        config=config,
        labels=labels,
        targets={split: targets_of(table, labels) for split, table in rows.items()},
        cached=_cached(config, rows) if is_cached else None,
        dataset_fingerprint=fingerprint,
        threads=threads,
        listener=listener,
    )
    return fit(
        train_loop_per_worker,
        task,
        output=output,
        scaling=scaling,
        max_failures=config.max_failures,
        streams=None if is_cached else _streams(config, rows),
    )


def _cached(config: TrainClassifierConfig, rows: dict[str, pa.Table]) -> dict[str, list[ray.ObjectRef]]:
    return {split: cache_pixels(table, image_size=config.image_size) for split, table in rows.items()}


def _streams(config: TrainClassifierConfig, rows: dict[str, pa.Table]) -> dict[str, "ray.data.Dataset"]:
    shuffle_seeds = {"train": config.seed, "val": None}
    return {
        split: streamed_images(table, image_size=config.image_size, shuffle_seed=shuffle_seeds[split])
        for split, table in rows.items()
    }


def _rate_line(config: TrainClassifierConfig) -> str:
    least, most = config.worker_range
    per_worker = config.batch_size * config.accumulate
    steps = [f"{peak_learning_rate(config, n * per_worker):.2g} for {n * per_worker}" for n in sorted({least, most})]
    return f"peak learning rate {' to '.join(steps)} images a step ({peak_learning_rate(config, REFERENCE_BATCH):.2g} for 32)"


def _summary(config: TrainClassifierConfig, card: ModelCard, history: list[dict[str, Any]]) -> str:
    best = card.metrics
    recalls = ", ".join(f"{label} {best.get(f'val_recall_{label}', float('nan')):.2f}" for label in card.labels)
    return (
        f"{card.model_id} in {config.output_uri}\n"
        f"best of {len(history)} epochs: {best['epoch']}, val accuracy {best['val_accuracy']:.4f}, "
        f"macro F1 {best['val_macro_f1']:.4f}, temperature {card.temperature:.2f}\n"
        f"recall: {recalls}"
    )


def train_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """Train `loop_config["task"]`, a `ClassifierTask`, from the last checkpoint on.

    The loop is imported in the worker alone: driver and controller load this function too, without models.
    """
    from cxr_ray.training.classifier.loop import train_from_last_checkpoint

    train_from_last_checkpoint(loop_config["task"])
