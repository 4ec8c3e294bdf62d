"""Rates that benchmarks of scoring compare: of a job in its steady state, and of the models alone."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from cxr_ray.cluster.session import ray_session
from cxr_ray.errors import ClusterError, DatasetError
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.models.bundle import ModelCard
from cxr_ray.scoring.stages.load import Geometry, LoadStage, pixels_of

WARM_UP_SHARE = 0.1  # of the images, in which actors start and the first blocks are decoded ahead


def check_single_machine() -> None:
    """A job and its limit compare only on the same cores, or on the same GPU.

    Raises:
        ClusterError: if the cluster is more than one machine with one GPU.
    """
    with ray_session():
        nodes = sum(node["Alive"] for node in ray.nodes())
        gpus = int(ray.cluster_resources().get("GPU", 0))
    if nodes > 1 or gpus > 1:
        raise ClusterError(
            f"the cluster has {nodes} nodes and {gpus} GPUs; measure on one machine, with CUDA_VISIBLE_DEVICES=0"
        )


def load_pixels(rows: pa.Table, card: ModelCard) -> tuple[np.ndarray, float]:
    """Pixels uint8 [N, S, S] of the rows, and the rate at which one process downloads, decodes and resizes them."""
    geometry = Geometry(image_size=card.image_size, interpolation=card.interpolation)
    stage = LoadStage(geometries=(geometry,), limits=DecodeLimits(), patient_key_secret=b"")
    block = rows.select(["image_id", "uri"]).append_column("size_bytes", pa.nulls(rows.num_rows, pa.int64()))
    began = time.perf_counter()
    tables = list(stage(block))
    seconds = time.perf_counter() - began
    return np.concatenate([pixels_of(table, geometry)[0] for table in tables]), rows.num_rows / seconds


def forward_rate(predict: Callable[[np.ndarray], object], pixels: np.ndarray, batch_size: int) -> float:
    """Images a second of the forward pass alone, on pixels that are in memory, after one batch to warm up."""
    batches = [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
    predict(batches[0])
    began = time.perf_counter()
    for batch in batches:
        predict(batch)
    return len(pixels) / (time.perf_counter() - began)


def steady_rate(scored_at: pa.ChunkedArray) -> float:
    """Images a second between the first tenth of the images and the last one; each row carries its batch's time."""
    seconds = np.sort(scored_at.cast(pa.int64()).to_numpy()) / 1e6
    start = int(len(seconds) * WARM_UP_SHARE)
    begin = seconds[start]
    after = int((seconds > begin).sum())
    if not after:
        raise DatasetError(f"{len(seconds)} images fit one batch; measure with more, or with a smaller --batch-size")
    return after / (seconds[-1] - begin)


def rate_lines(result: dict[str, Any]) -> list[str]:
    """A line for each of `images_per_second`, with its `spread`."""
    return [
        "  {:<22}{:>10,.1f}   ({:,.1f} - {:,.1f})".format(name, median, *result["spread"][name])
        for name, median in result["images_per_second"].items()
    ]
