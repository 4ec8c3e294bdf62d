"""What segmenting by a segmenter reaches beside its forward pass alone, and the cascade beside both of its jobs, in one run."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import read_table
from cxr_ray.archive.uris import absolute_uri, join_uri, write_bytes
from cxr_ray.benchmarks.rates import check_single_machine, forward_rate, load_pixels, rate_lines, steady_rate
from cxr_ray.config import BenchmarkCascadeConfig, ScoreConfig
from cxr_ray.errors import DatasetError
from cxr_ray.models.allocator import keep_freed_memory
from cxr_ray.models.segmenter import Segmenter
from cxr_ray.scoring.classify_archive import classify_archive
from cxr_ray.scoring.score_archive import score_archive
from cxr_ray.scoring.segment_archive import segment_archive
from cxr_ray.scoring.stages.segment_by_model import FORWARD_BATCH

SEGMENTED = "segmented_share"
"""Of the images, by the cascade."""


def benchmark_cascade(config: BenchmarkCascadeConfig) -> dict[str, Any]:
    """Measure the three jobs and the segmenter's forward pass in turn, `config.repeats` times; print and return medians.

    Raises:
        DatasetError: if no image of the input can be decoded, or a single batch holds them all.
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
    """Images a second of each, in the steady state of the jobs."""
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
    """Run a job and note its rate, steady and whole; the rows that it wrote."""
    began = time.monotonic()
    job(config)
    seconds = time.monotonic() - began
    rows = read_table(join_uri(config.output_uri, table))
    rates[name], rates[f"{name}_whole"] = steady_rate(rows["scored_at"]), rows.num_rows / seconds
    return rows


def _forward_only(config: BenchmarkCascadeConfig, rows: pa.Table) -> float:
    """Of the segmenter on pixels in memory, in batches as the job makes them."""
    readable = rows.filter(pc.not_equal(rows["status"], "error")).slice(0, config.forward_images)
    if not readable.num_rows:
        raise DatasetError(f"no image of {config.input_uri} can be decoded; there is nothing to measure")
    torch.set_num_threads(os.cpu_count() or 1)
    keep_freed_memory()
    segmenter = Segmenter(config.segmenter_uri, device=None if config.device == "auto" else config.device)
    pixels, _ = load_pixels(readable, segmenter.card)
    return forward_rate(lambda batch: segmenter.predict(batch).cpu(), pixels, FORWARD_BATCH[segmenter.device.type])


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Medians, spread, and medians of the ratios within each round."""
    shares = [r["segment"] / r["segment_forward_only"] for r in rounds]
    costs = [min(r["segment"], r["classify"]) / r["cascade"] for r in rounds]
    names = rounds[0].keys() - {SEGMENTED}
    return {
        "images_per_second": {name: statistics.median(r[name] for r in rounds) for name in sorted(names)},
        "spread": {name: [min(r[name] for r in rounds), max(r[name] for r in rounds)] for name in sorted(names)},
        SEGMENTED: rounds[0][SEGMENTED],
        "segment_to_forward_only": statistics.median(shares),
        "cascade_time_to_slower_job": statistics.median(costs),
    }


def report(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [f"{result['cpus']} CPUs: median images/s (least - most)", *rate_lines(result)]
    lines.append(f"  segment / segment_forward_only      {result['segment_to_forward_only']:.2f}")
    lines.append(
        f"  cascade's time / the slower job's   {result['cascade_time_to_slower_job']:.2f}, {result[SEGMENTED]:.0%} segmented"
    )
    return "\n".join(lines)
