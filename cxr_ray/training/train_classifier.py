"""A dataset to a model bundle, through Ray Train."""

import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.train import CheckpointConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cxr_ray.archive.datasets import dataset_fingerprint, read_dataset, rows_of_split
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import (
    absolute_uri,
    arrow_filesystem,
    join_uri,
    open_filesystem,
    read_bytes,
    write_bytes,
)
from cxr_ray.config import TrainClassifierConfig
from cxr_ray.errors import ClusterError, DatasetError
from cxr_ray.models.bundle import CARD_NAME, WEIGHTS_NAME, ModelCard, read_card
from cxr_ray.schema import probability_column
from cxr_ray.scoring.session import ray_session
from cxr_ray.training.classifier_loop import ClassifierTask, train_loop_per_worker
from cxr_ray.training.epoch_lines import printed_epochs
from cxr_ray.training.pixel_cache import cache_pixels
from cxr_ray.training.tensorboard_log import write_tensorboard

log = logging.getLogger("cxr_ray")


def train_classifier(config: TrainClassifierConfig) -> ModelCard:
    """Train on the dataset's train split, choose the epoch by its val split, write the bundle to `config.output_uri`.

    Raises:
        DatasetError: if a split is empty, fewer than two classes are labelled, or an image cannot be read.
        ClusterError: if the cluster cannot hold the workers.
    """
    config = replace(config, output_uri=absolute_uri(config.output_uri))
    dataset = read_dataset(config.dataset_uri)
    labels = class_labels(dataset)
    with ray_session():
        cpus_per_worker = check_room(config.num_workers, use_gpu=config.use_gpu)
        rows = {split: rows_of_split(dataset, split) for split in ("train", "val")}
        if rows["train"].num_rows < 2 * config.num_workers:
            raise DatasetError(f"{rows['train'].num_rows} train images are too few for {config.num_workers} workers")
        log.info(
            "%s train and %s val images of %s classes",
            rows["train"].num_rows,
            rows["val"].num_rows,
            len(labels),
        )
        parts = {s: cache_pixels(r, image_size=config.image_size, interpolation="bilinear") for s, r in rows.items()}
        with printed_epochs(config.epochs) as listener:
            task = ClassifierTask(
                config=config,
                labels=labels,
                train_parts=parts["train"],
                train_targets=targets(rows["train"], labels),
                val_parts=parts["val"],
                val_targets=targets(rows["val"], labels),
                dataset_fingerprint=dataset_fingerprint(dataset),
                threads=math.floor(cpus_per_worker),
                listener=listener,
            )
            result = _fit(config, task, cpus_per_worker)
        history = ray.get(listener.since.remote(0))
    return _publish(config, result, history)


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


def targets(rows: pa.Table, labels: tuple[str, ...]) -> np.ndarray:
    """Class index of every row, int64 [N]."""
    return np.array([labels.index(label) for label in rows["label"].to_pylist()], np.int64)


def check_room(num_workers: int, *, use_gpu: bool) -> float:
    """CPUs that each worker may reserve.

    Raises:
        ClusterError: if the cluster has too few CPUs or GPUs, for which Ray would wait for ever.
    """
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    if cpus < num_workers:
        raise ClusterError(
            f"--num-workers {num_workers} needs {num_workers} CPUs and the cluster has {cpus:g}; ask for fewer"
        )
    if use_gpu and gpus < num_workers:
        raise ClusterError(
            f"--use-gpu with --num-workers {num_workers} needs {num_workers} GPUs and the cluster has {gpus:g}"
        )
    return math.floor(cpus / num_workers)


def _fit(config: TrainClassifierConfig, task: ClassifierTask, cpus_per_worker: float) -> Result:
    fs, state_path = open_filesystem(join_uri(config.output_uri, "_state"))
    trainer = TorchTrainer(
        train_loop_per_worker,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": cpus_per_worker} | ({"GPU": 1} if config.use_gpu else {}),
        ),
        run_config=RunConfig(
            name="train",
            storage_path=state_path,
            storage_filesystem=arrow_filesystem(fs),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="val_accuracy"),
        ),
    )
    return trainer.fit()


def _publish(config: TrainClassifierConfig, result: Result, history: list[dict[str, Any]]) -> ModelCard:
    """Copy the best epoch's bundle to the output; write history, TensorBoard files and `run.json` beside it."""
    checkpoint = result.checkpoint
    with checkpoint.as_directory() as folder:
        for name in (WEIGHTS_NAME, CARD_NAME):
            write_bytes(join_uri(config.output_uri, name), read_bytes(join_uri(folder, name)))
    write_table(pa.Table.from_pylist(history), join_uri(config.output_uri, "history.parquet"))
    write_tensorboard(history, join_uri(config.output_uri, "tensorboard"))
    card = read_card(config.output_uri)
    write_run_record(config.output_uri, config, model_id=card.model_id, metrics=card.metrics)
    fs, state_path = open_filesystem(join_uri(config.output_uri, "_state"))
    fs.rm(state_path, recursive=True)
    print(
        f"{card.model_id} in {config.output_uri}: best epoch {card.metrics['epoch']}, "
        f"val accuracy {card.metrics['val_accuracy']:.4f}"
    )
    return card
