"""Benchmark that compares a segmenter with its forward pass alone, and the cascade with its two single jobs, in one run."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import read_table
from cxr_ray.archive.uris import absolute_uri, join_uri, write_bytes
from cxr_ray.benchmarks.rates import check_single_machine, device_of, forward_rate, load_pixels, rate_lines, steady_rate
from cxr_ray.config import BenchmarkCascadeConfig, ScoreConfig
from cxr_ray.errors import DatasetError
from cxr_ray.models.allocator import keep_freed_memory
from cxr_ray.models.segmenter import Segmenter
from cxr_ray.scoring.classify_archive import classify_archive
from cxr_ray.scoring.score_archive import score_archive
from cxr_ray.scoring.segment_archive import segment_archive
from cxr_ray.scoring.stages.segment_by_model import FORWARD_BATCH

SEGMENTED = "segmented_share"
"""Key of the fraction (0 to 1) of the images that the cascade segments, in `benchmark.json`."""


def benchmark_cascade(config: BenchmarkCascadeConfig) -> dict[str, Any]:
    """Measure the three jobs and the segmenter's forward pass in turn, `config.repeats` times, and print the medians.

    The result is also written to `benchmark.json`, if `config.output_uri` is given.

    Returns:
        The medians and the spread in images per second, as `summary` gives them, the number of CPUs and the labels.

    Raises:
        DatasetError: if no image of the input can be decoded, or all images fit in one batch.
        ClusterError: if the cluster is more than one machine with one GPU, where the limit cannot be measured.
    """
    check_single_machine()
    with tempfile.TemporaryDirectory() as folder:
        output = absolute_uri(config.output_uri or folder)
        rounds = [_round(config, join_uri(output, f"round-{i}")) for i in range(config.repeats)]
        result = summary(rounds) | {"cpus": os.cpu_count(), "segment_labels": list(config.segment_labels)}
        write_bytes(join_uri(output, "benchmark.json"), json.dumps(result, indent=2).encode())
        write_run_record(output, config)
    print(report(result))
    return result


def _round(config: BenchmarkCascadeConfig, output_uri: str) -> dict[str, float]:
    """Measure one round: images per second by name, and the fraction of the images that the cascade segmented."""
    cascade = ScoreConfig(
        input_uri=config.input_uri,
        classifier_uri=(config.classifier_uri,),
        segmenter_uri=config.segmenter_uri,
        segment_labels=config.segment_labels,
        output_uri=output_uri,
        overwrite=True,
        max_error_rate=1.0,
        device=config.device,
    )
    rates: dict[str, float] = {}
    rows = _measure(rates, "segment", cascade.segmenting(), segment_archive, "masks")
    rates["segment_forward_only"] = _forward_only(config, rows)
    _measure(rates, "classify", cascade.classifying(), classify_archive, "predictions")
    scores = _measure(rates, "cascade", cascade, score_archive, "scores")
    segmented = pc.sum(pc.is_in(scores["mask_status"], pa.array(["ok", "empty"]))).as_py()
    return rates | {SEGMENTED: segmented / scores.num_rows}


def _measure(rates: dict[str, float], name: str, config: Any, job: Callable[[Any], object], table: str) -> pa.Table:
    """Run `job`, add its images per second (in the steady state, and over the whole job) to `rates`, return its rows."""
    started = time.monotonic()
    job(config)
    seconds = time.monotonic() - started
    rows = read_table(join_uri(config.output_uri, table))
    rates[name], rates[f"{name}_whole"] = steady_rate(rows["scored_at"]), rows.num_rows / seconds
    return rows


def _forward_only(config: BenchmarkCascadeConfig, rows: pa.Table) -> float:
    """Images per second of the segmenter on pixels in memory, in batches of the size that the job uses.

    Args:
        config: names the segmenter, the device and the maximum number of images.
        rows: rows of `OUTPUT/masks/`; images with errors are left out.

    Raises:
        DatasetError: if every row is an error.
    """
    readable = rows.filter(pc.not_equal(rows["status"], "error")).slice(0, config.forward_images)
    if not readable.num_rows:
        raise DatasetError(f"no image of {config.input_uri} can be decoded; choose an archive with readable images")
    keep_freed_memory()
    segmenter = Segmenter(
        config.segmenter_uri, device=device_of(config.device), engine="auto", threads=os.cpu_count() or 1
    )
    pixels, _ = load_pixels(readable, segmenter.card)
    return forward_rate(segmenter.engine, pixels, FORWARD_BATCH[segmenter.device.type])


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Summarise rounds by medians of images per second, their minimum and maximum, and medians of the ratios within rounds.

    Args:
        rounds: for each round, images per second by name, and the fraction of images that the cascade segmented.
    """
    ratios = [r["segment"] / r["segment_forward_only"] for r in rounds]
    times = [min(r["segment"], r["classify"]) / r["cascade"] for r in rounds]
    names = rounds[0].keys() - {SEGMENTED}
    return {
        "images_per_second": {name: statistics.median(r[name] for r in rounds) for name in sorted(names)},
        "spread": {name: [min(r[name] for r in rounds), max(r[name] for r in rounds)] for name in sorted(names)},
        SEGMENTED: rounds[0][SEGMENTED],
        "segment_to_forward_only": statistics.median(ratios),
        "cascade_time_to_slower_job": statistics.median(times),
    }


def report(result: dict[str, Any]) -> str:
    """The result of `benchmark_cascade` as lines of text for the terminal."""
    lines = [f"{result['cpus']} CPUs: median images/s (minimum - maximum)", *rate_lines(result)]
    lines.append(f"  segment / segment_forward_only      {result['segment_to_forward_only']:.2f}")
    lines.append(
        f"  cascade's time / the slower job's   {result['cascade_time_to_slower_job']:.2f}, {result[SEGMENTED]:.0%} segmented"
    )
    return "\n".join(lines)
