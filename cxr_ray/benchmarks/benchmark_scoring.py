"""Benchmark that compares scoring with its limit (the fastest forward pass) and a baseline (a DataLoader loop), in one run."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import read_table
from cxr_ray.archive.uris import absolute_uri, join_uri, write_bytes
from cxr_ray.benchmarks.plain_scoring import plain_scoring_rate
from cxr_ray.benchmarks.rates import check_single_machine, device_of, forward_rate, load_pixels, rate_lines, steady_rate
from cxr_ray.config import BenchmarkConfig, ClassifyConfig
from cxr_ray.errors import DatasetError
from cxr_ray.models.bundle import ModelCard, read_card
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.engines.engine import EngineName
from cxr_ray.models.engines.fastest_engine import FASTEST_FIRST
from cxr_ray.scoring.classify_archive import BATCH_SIZE, classify_archive


def benchmark_scoring(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure loading, the forward pass, the job and the baseline in turn, `config.repeats` times, and print the medians.

    The result is also written to `benchmark.json`, if `config.output_uri` is given.

    Returns:
        The medians and the spread in images per second, the ratios of the job to its limit and to the baseline, the
        seconds that the start of the job takes, the device, and the cost in dollars per million images if
        `config.dollars_per_hour` is given. `forward_only` is the limit: the rate of the fastest engine in each round.

    Raises:
        DatasetError: if no PNG or JPEG of the input can be decoded, or all images fit in one batch.
        ClusterError: if the cluster is more than one machine with one GPU, where the limit cannot be measured.
        EngineError: if an engine of `config.engines` is not there or disagrees with torch.
    """
    card = read_card(config.model_uri)
    check_single_machine()
    with tempfile.TemporaryDirectory() as folder:
        output = absolute_uri(config.output_uri or folder)
        rounds = [_round(config, card, join_uri(output, f"round-{i}")) for i in range(config.repeats)]
        start_seconds = statistics.median(r.pop("start_seconds") for r in rounds)
        rates = {name: [r[name] for r in rounds] for name in rounds[0]}
        result = _result(config, card, rates) | {"device": device_of(config.device), "start_seconds": start_seconds}
        write_bytes(join_uri(output, "benchmark.json"), json.dumps(result, indent=2).encode())
        write_run_record(output, config)
    print(report(result))
    return result


def _round(config: BenchmarkConfig, card: ModelCard, output_uri: str) -> dict[str, float]:
    """Measure one round in images per second by name, and the seconds that the start takes.

    The job runs first, because its rows say which images can be read.
    """
    started = time.monotonic()
    classify_archive(
        ClassifyConfig(
            input_uri=config.input_uri,
            model_uri=(config.model_uri,),
            output_uri=output_uri,
            overwrite=True,
            max_error_rate=1.0,
            batch_size=config.batch_size,
            device=config.device,
            engine=config.engine,
            precision=config.precision,
        )
    )
    seconds = time.monotonic() - started
    rows = read_table(join_uri(output_uri, "predictions"), ["image_id", "uri", "format", "status", "scored_at"])
    is_plain = pc.is_in(rows["format"], pa.array(["png", "jpeg"]))  # the baseline cannot read DICOM
    readable = rows.filter(pc.and_(pc.equal(rows["status"], "ok"), is_plain)).slice(0, config.baseline_images)
    if not readable.num_rows:
        raise DatasetError(
            f"no PNG or JPEG of {config.input_uri} can be decoded; choose an archive with readable images"
        )
    pixels, load_rate = load_pixels(readable, card)
    device = device_of(config.device)
    batch_size = config.batch_size or BATCH_SIZE[device]
    forward = {
        f"forward_{name}": forward_rate(_classifier(config, name, device).predict, pixels, batch_size)
        for name in config.engines or FASTEST_FIRST[device]
    }
    steady = steady_rate(rows["scored_at"])
    return {
        "start_seconds": max(0.0, seconds - rows.num_rows / steady),
        "load_one_core": load_rate,
        **forward,
        "forward_only": max(forward.values()),
        "job_steady": steady,
        "job_whole": rows.num_rows / seconds,
        "dataloader_fp32": plain_scoring_rate(
            readable["uri"].to_pylist(), config.model_uri, device=device, batch_size=batch_size
        ),
    }


def _classifier(config: BenchmarkConfig, engine: EngineName, device: str) -> Classifier:
    threads = os.cpu_count() or 1
    return Classifier(config.model_uri, device=device, engine=engine, precision=config.precision, threads=threads)


def _result(config: BenchmarkConfig, card: ModelCard, rates: dict[str, list[float]]) -> dict[str, Any]:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    result: dict[str, Any] = {
        "model_id": card.model_id,
        "preprocessing_id": card.preprocessing_id,
        "cpus": os.cpu_count(),
        "images_per_second": medians,
        "spread": {name: [min(values), max(values)] for name, values in rates.items()},
        "job_steady_to_forward_only": statistics.median(_ratios(rates, "job_steady", "forward_only")),
        "job_steady_to_dataloader_fp32": statistics.median(_ratios(rates, "job_steady", "dataloader_fp32")),
    }
    if config.dollars_per_hour is not None:
        result["dollars_per_million_images"] = config.dollars_per_hour / 3600 / medians["job_steady"] * 1e6
    return result


def _ratios(rates: dict[str, list[float]], above: str, below: str) -> Iterator[float]:
    return (a / b for a, b in zip(rates[above], rates[below], strict=True))


def report(result: dict[str, Any]) -> str:
    """The result of `benchmark_scoring` as lines of text for the terminal."""
    lines = [f"{result['model_id']} on {result['cpus']} CPUs: median images/s (minimum - maximum)", *rate_lines(result)]
    lines.append(f"  job_steady / forward_only     {result['job_steady_to_forward_only']:.2f}")
    lines.append(f"  job_steady / dataloader_fp32  {result['job_steady_to_dataloader_fp32']:.2f}")
    if "dollars_per_million_images" in result:
        lines.append(f"  a million images cost {result['dollars_per_million_images']:,.2f} dollars")
    return "\n".join(lines)
