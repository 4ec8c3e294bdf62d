"""Benchmark that compares one worker of Ray Train with a baseline (a plain PyTorch loop in one process), in one run."""

import json
import os
import statistics
import tempfile
from typing import Any

from cxr_ray.archive.datasets import class_labels, read_dataset, rows_of_split
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import read_table
from cxr_ray.archive.uris import absolute_uri, join_uri, write_bytes
from cxr_ray.benchmarks.plain_training import plain_training_rate
from cxr_ray.config import BenchmarkTrainingConfig, TrainClassifierConfig
from cxr_ray.errors import DatasetError
from cxr_ray.training.classifier.one_class import targets_of
from cxr_ray.training.classifier.train_classifier import train_classifier
from cxr_ray.training.readable_images import load_resized


def benchmark_training(config: BenchmarkTrainingConfig) -> dict[str, Any]:
    """Measure Ray Train and the baseline in turn, `config.repeats` times for each backbone, and print the medians.

    The result is also written to `benchmark.json`, if `config.output_uri` is given.

    Returns:
        The number of CPUs, the batch size and, by backbone, the figures of `summary`.

    Raises:
        DatasetError: if the dataset cannot be trained on, or has fewer training images than a batch.
    """
    dataset = read_dataset(config.dataset_uri)
    rows, labels = rows_of_split(dataset, "train"), class_labels(dataset)
    if rows.num_rows < config.batch_size:
        raise DatasetError(
            f"{rows.num_rows} training images are too few for a batch_size of {config.batch_size}; lower --batch-size"
        )
    targets = targets_of(rows, labels)
    pixels, _ = load_resized(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), config.image_size)
    result: dict[str, Any] = {"cpus": os.cpu_count(), "batch_size": config.batch_size, "backbones": {}}
    for backbone in config.backbone:
        rounds = []
        for _ in range(config.repeats):
            plain = plain_training_rate(config, backbone, pixels, targets)
            rounds.append({"ray_train": ray_train_rate(config, backbone), "plain_loop": plain})
        result["backbones"][backbone] = summary(rounds)
        print(line(backbone, result["backbones"][backbone]), flush=True)
    if config.output_uri:
        write_bytes(join_uri(absolute_uri(config.output_uri), "benchmark.json"), json.dumps(result, indent=2).encode())
        write_run_record(absolute_uri(config.output_uri), config)
    return result


def ray_train_rate(config: BenchmarkTrainingConfig, backbone: str) -> float:
    """Images per second of a training through Ray Train, the median of the epochs after the first; validation is not counted."""
    with tempfile.TemporaryDirectory(prefix="cxr_ray_benchmark_") as folder:
        train_classifier(
            TrainClassifierConfig(
                dataset_uri=config.dataset_uri,
                output_uri=folder,
                backbone=backbone,
                image_size=config.image_size,
                batch_size=config.batch_size,
                epochs=config.epochs,
                precision=config.precision,
                compile=config.compile,
                use_gpu=config.use_gpu,
            )
        )
        history = read_table(join_uri(folder, "history.parquet"), ["images_per_second"])
    return statistics.median(history["images_per_second"].to_pylist()[1:])


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Summarise rounds by medians of images per second, their minimum and maximum, and the median of the ratios within rounds.

    Args:
        rounds: for each round, images per second of `ray_train` and of `plain_loop` (the baseline).
    """
    ratios = [r["ray_train"] / r["plain_loop"] for r in rounds]
    return {
        "images_per_second": {name: statistics.median(r[name] for r in rounds) for name in rounds[0]},
        "spread": {name: [min(r[name] for r in rounds), max(r[name] for r in rounds)] for name in rounds[0]},
        "ray_train_to_plain_loop": statistics.median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
    }


def line(backbone: str, figures: dict[str, Any]) -> str:
    """The figures of `summary` for one backbone as a line of text for the terminal."""
    rates, (low, high) = figures["images_per_second"], figures["ratio_spread"]
    return (
        f"{backbone}: {rates['ray_train']:,.1f} images/s through Ray Train, "
        f"{rates['plain_loop']:,.1f} in the baseline (a plain PyTorch loop), "
        f"ratio {figures['ray_train_to_plain_loop']:.2f} ({low:.2f} - {high:.2f})"
    )
