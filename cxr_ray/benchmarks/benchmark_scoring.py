"""Benchmark that compares scoring with its limit (the fastest forward pass) and its peers (other tools), in one run."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import read_table
from cxr_ray.archive.uris import absolute_uri, join_uri, write_bytes
from cxr_ray.benchmarks.peers.run import peer_rates
from cxr_ray.benchmarks.rates import check_single_machine, device_of, forward_rate, load_pixels, rate_lines, steady_rate
from cxr_ray.config import BenchmarkConfig
from cxr_ray.errors import ConfigError, DatasetError
from cxr_ray.models.bundle import ModelCard, read_card
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.engines.engine import EngineName
from cxr_ray.models.engines.fastest_engine import FASTEST_FIRST
from cxr_ray.scoring.classify_archive import BATCH_SIZE

JOB = """
from cxr_ray.config import ClassifyConfig
from cxr_ray.config.command_line import run_job
def classify(config):
    from cxr_ray.scoring.classify_archive import classify_archive
    classify_archive(config)
run_job(ClassifyConfig, classify)
"""
"""The lines of `jobs/classify_archive.py`."""
SECONDS = ("first_batch_seconds", "start_seconds")


def benchmark_scoring(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure the job, loading, the forward pass and the peers in turn, `config.repeats` times, and print the medians.

    The result is also written to `benchmark.json`, if `config.output_uri` is given.

    Returns:
        The medians and the spread in images per second, the ratios of the job to its limit and to each peer, the
        seconds from the command to the first scored batch, those that the start and the end of the job take, the device,
        and the cost in dollars per million images if `config.dollars_per_hour` is given. `forward_only` is the limit: the
        rate of the fastest engine in each round. Rates named `_steady` leave a warm-up out; those named `_whole` count
        from the start of a process to its end, for the job and for each peer.

    Raises:
        DatasetError: if no PNG or JPEG of the input can be decoded, or all images fit in one batch.
        ConfigError: if the job or a peer fails; the peer's own last line is part of the message.
        ClusterError: if the cluster is more than one machine with one GPU, where the limit cannot be measured.
        EngineError: if an engine of `config.engines` is not there or disagrees with torch.
    """
    card = read_card(config.model_uri)
    check_single_machine()
    with tempfile.TemporaryDirectory() as folder:
        output = absolute_uri(config.output_uri or folder)
        rounds = [_round(config, card, join_uri(output, f"round-{i}")) for i in range(config.repeats)]
        seconds = {name: statistics.median(r.pop(name) for r in rounds) for name in SECONDS}
        rates = {name: [r[name] for r in rounds] for name in rounds[0]}
        result = _result(config, card, rates) | {"device": device_of(config.device)} | seconds
        write_bytes(join_uri(output, "benchmark.json"), json.dumps(result, indent=2).encode())
        write_run_record(output, config)
    print(report(result))
    return result


def _round(config: BenchmarkConfig, card: ModelCard, output_uri: str) -> dict[str, float]:
    """Measure one round: images per second by name, and the times of `SECONDS`.

    The job runs first, because its rows say which images can be read.
    """
    device = device_of(config.device)
    batch_size = config.batch_size or BATCH_SIZE[device]
    began, seconds = _run_job(config, output_uri)
    rows = read_table(join_uri(output_uri, "predictions"), ["image_id", "uri", "format", "status", "scored_at"])
    is_plain = pc.is_in(rows["format"], pa.array(["png", "jpeg"]))  # the peers cannot read DICOM
    readable = rows.filter(pc.and_(pc.equal(rows["status"], "ok"), is_plain))
    if not readable.num_rows:
        raise DatasetError(
            f"no PNG or JPEG of {config.input_uri} can be decoded; choose an archive with readable images"
        )
    pixels, load_rate = load_pixels(readable.slice(0, config.forward_images), card)
    forward = {
        f"forward_{name}": forward_rate(_classifier(config, name, device).predict, pixels, batch_size)
        for name in config.engines or FASTEST_FIRST[device]
    }
    steady = steady_rate(rows["scored_at"])
    task = {"uris": readable["uri"].to_pylist(), "model_uri": config.model_uri}
    peers = [peer_rates(peer, **task, device=device, batch_size=batch_size) for peer in config.peers]
    return {
        "first_batch_seconds": pc.min(rows["scored_at"]).as_py().timestamp() - began,
        "start_seconds": max(0.0, seconds - rows.num_rows / steady),
        "load_one_core": load_rate,
        **forward,
        "forward_only": max(forward.values()),
        "job_steady": steady,
        "job_whole": rows.num_rows / seconds,
        **{name: rate for rates in peers for name, rate in rates.items()},
    }


def _run_job(config: BenchmarkConfig, output_uri: str) -> tuple[float, float]:
    """Run the job in a process of its own, as its command does; when it began, in seconds since 1970, and how long it took."""
    flags = ["--input-uri", config.input_uri, "--model-uri", config.model_uri, "--output-uri", output_uri]
    flags += ["--overwrite", "--max-error-rate", "1", "--device", config.device, "--engine", config.engine]
    flags += ["--precision", config.precision]
    flags += ["--batch-size", str(config.batch_size)] if config.batch_size else []
    began, started = time.time(), time.monotonic()
    code = subprocess.run([sys.executable, "-c", JOB, *flags], check=False).returncode  # noqa: S603  our own lines
    if code != 0:
        raise ConfigError(f"the job ended with exit code {code}; its own lines above say why")
    return began, time.monotonic() - started


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
        **{
            f"job_{part}_to_{peer}": statistics.median(_ratios(rates, f"job_{part}", f"{peer}_{part}"))
            for peer in config.peers
            for part in ("steady", "whole")
        },
    }
    if config.dollars_per_hour is not None:
        result["dollars_per_million_images"] = config.dollars_per_hour / 3600 / medians["job_steady"] * 1e6
    return result


def _ratios(rates: dict[str, list[float]], above: str, below: str) -> Iterator[float]:
    return (a / b for a, b in zip(rates[above], rates[below], strict=True))


def report(result: dict[str, Any]) -> str:
    """The result of `benchmark_scoring` as lines of text for the terminal."""
    lines = [f"{result['model_id']} on {result['cpus']} CPUs: median images/s (minimum - maximum)", *rate_lines(result)]
    ratios = {name: value for name, value in result.items() if "_to_" in name}
    lines += [f"  {' / '.join(name.split('_to_')):<38}{value:.2f}" for name, value in ratios.items()]
    lines.append(f"  the first batch was scored {result['first_batch_seconds']:.1f} s after the command")
    if "dollars_per_million_images" in result:
        lines.append(f"  a million images cost {result['dollars_per_million_images']:,.2f} dollars")
    return "\n".join(lines)
