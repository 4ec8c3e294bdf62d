"""Images per second that benchmarks of scoring compare: of a job in its steady state, and of the models alone."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch

from cxr_ray.cluster.session import ray_session
from cxr_ray.errors import ClusterError, DatasetError
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.models.bundle import ModelCard
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.load import Geometry, LoadStage, pixels_of

WARM_UP_FRACTION = 0.1
"""Fraction of the images that the steady state leaves out, while actors start and the first blocks are decoded in advance."""


def check_single_machine() -> None:
    """Check that the cluster is one machine with at most one GPU, where a job and its limit run on the same hardware.

    Raises:
        ClusterError: if the cluster is more than one machine with one GPU.
    """
    with ray_session():
        nodes = sum(node["Alive"] for node in ray.nodes())
        gpus = int(ray.cluster_resources().get("GPU", 0))
    if nodes > 1 or gpus > 1:
        raise ClusterError(
            f"the cluster has {nodes} nodes and {gpus} GPUs; measure on one machine and set CUDA_VISIBLE_DEVICES=0 to use one GPU"
        )


def device_of(option: str) -> str:
    """Kind of the device, `cpu` or `cuda`, that the option `--device` chooses on this machine."""
    if option != "auto":
        return option
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_pixels(rows: pa.Table, card: ModelCard) -> tuple[np.ndarray, float]:
    """Download, decode and resize images in this process, after one image as a warm-up, which starts the decoder.

    Args:
        rows: N rows with the columns `image_id` and `uri`, of images that can be read.
        card: model whose image size S and interpolation are used.

    Returns:
        Pixels, uint8 [N, S, S], and the images per second at which they were made.
    """
    geometry = Geometry(image_size=card.image_size, interpolation=card.interpolation)
    stage = LoadStage(geometries=(geometry,), limits=DecodeLimits(), patient_secret=PatientSecret(b""))
    block = rows.select(["image_id", "uri"]).append_column("size_bytes", pa.nulls(rows.num_rows, pa.int64()))
    list(stage(block.slice(0, 1)))
    started = time.perf_counter()
    tables = list(stage(block))
    seconds = time.perf_counter() - started
    return np.concatenate([pixels_of(table, geometry)[0] for table in tables]), rows.num_rows / seconds


def forward_rate(predict: Callable[[np.ndarray], object], pixels: np.ndarray, batch_size: int) -> float:
    """Images per second of the forward pass alone, on pixels in memory, after one batch as a warm-up.

    Args:
        predict: called with uint8 [n, S, S] for each batch; n is at most `batch_size`.
        pixels: uint8 [N, S, S], N at least 1.
        batch_size: images per call.
    """
    batches = [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
    predict(batches[0])
    started = time.perf_counter()
    for batch in batches:
        predict(batch)
    return len(pixels) / (time.perf_counter() - started)


def steady_rate(scored_at: pa.ChunkedArray) -> float:
    """Images per second of a job from the end of its warm-up, a tenth of the images, to its last image.

    Args:
        scored_at: timestamp of each row in UTC microseconds; rows of one batch have the same timestamp.

    Raises:
        DatasetError: if all images after the warm-up were scored in one batch.
    """
    return rate_after_warm_up(scored_at.cast(pa.int64()).to_numpy() / 1e6)


def rate_after_warm_up(seconds: np.ndarray) -> float:
    """Images per second as `steady_rate` gives it, for the time of each image in seconds, float64 [N]."""
    seconds = np.sort(seconds)
    warm_up_end = seconds[int(len(seconds) * WARM_UP_FRACTION)]
    after = int((seconds > warm_up_end).sum())
    if not after:
        raise DatasetError(f"{len(seconds)} images fit in one batch; measure with more images")
    return float(after / (seconds[-1] - warm_up_end))


def rate_lines(result: dict[str, Any]) -> list[str]:
    """Lines of text for a report, one for each rate of `result["images_per_second"]` with its minimum and maximum."""
    return [
        "  {:<22}{:>10,.1f}   ({:,.1f} - {:,.1f})".format(name, median, *result["spread"][name])
        for name, median in result["images_per_second"].items()
    ]
