"""Commands of the product that run on a store: an archive for them, their start and end, and the rows that they leave."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from cxr_ray.archive.tables import read_table
from cxr_ray.archive.uris import open_filesystem
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.scoring.output.state import PENDING_SUFFIX, OutputState, committed_files, file_names
from tests.faults.processes import descendants, handles_of

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 300.0
"""Seconds after which a start counts as hanging."""
HIDDEN = ("RAY_ADDRESS", "CXR_RAY_FORKED_WORKERS", "RAY_BACKEND_LOG_LEVEL", "AWS_ENDPOINT_URL_S3", "COLUMNS")
"""Variables that would let the job's Ray be another than that of a user."""
MARGIN = 1e-4
"""Largest difference of a probability between batches of different images; a wrong image differs far more."""
OF_A_RUN = ("run_id", "scored_at")
"""Columns that differ between runs with the same rows."""


def random_bundle(folder: str) -> str:
    """Save a small classifier of random weights, whose probabilities differ from image to image."""
    import torch

    from cxr_ray.models.backbones import build_backbone
    from cxr_ray.models.bundle import save_bundle
    from cxr_ray.schema import LABELS

    torch.manual_seed(0)
    model = build_backbone("efficientnet_b0", num_classes=len(LABELS), image_size=32)
    with torch.no_grad():
        model.get_classifier().weight.mul_(100)
    uri = f"{folder}/bundle"
    card = {"kind": "classifier", "backbone": "efficientnet_b0", "labels": LABELS, "image_size": 32}
    save_bundle(uri, model.state_dict(), **card)
    return uri


def empty_bucket(name: str) -> None:
    """Make a bucket, or empty it: moto keeps its content for the whole process."""
    fs, _ = open_filesystem(f"s3://{name}")
    if fs.exists(name):
        fs.rm(name, recursive=True)
    fs.mkdir(name)


def write_archive(images_per_class: int) -> None:
    """Write a drawn archive with broken files to s3://chaos/in, in a bucket that holds nothing else."""
    empty_bucket("chaos")
    write_phantom_archive("s3://chaos/in", images_per_class=images_per_class, size=64, dicom_fraction=0.2)


def job_line(model_uri: str, output_uri: str, input_uri: str = "s3://chaos/in") -> list[str]:
    """Command of the job; its blocks are small, so that there are many commits to disturb."""
    options = {"rows-per-block": 8, "batch-size": 8, "max-error-rate": 1, "precision": "fp32", "num-actors": 1}
    line = [sys.executable, str(REPOSITORY / "jobs/classify_archive.py"), "--input-uri", input_uri]
    line += ["--model-uri", model_uri, "--output-uri", output_uri, "--exclude", "*/masks/*", "metadata.csv"]
    return line + [text for name, value in options.items() for text in (f"--{name}", str(value))]


def reconcile_line(output_uri: str) -> list[str]:
    """Command that sets the rows of an output against its manifest."""
    line = [sys.executable, str(REPOSITORY / "jobs/reconcile_archive.py"), "--predictions-uri", output_uri]
    return [*line, "--manifest-uri", f"{output_uri}/_state/predictions/manifest.parquet"]


@dataclass
class Job:
    """A command that runs, in a process group of its own."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]

    @property
    def said(self) -> str:
        """What it has written to its standard error."""
        return os.pread(self.log.fileno(), 2**20, 0).decode(errors="replace")  # the process keeps its place in the file

    def last_words(self) -> str:
        """Exit code and last line."""
        return f"{self.process.returncode}: {(self.said.splitlines() or [''])[-1]}"


def start(line: list[str], endpoint: str = "", **variables: str) -> Job:
    """Start a command that finds the store at `endpoint` and starts Ray's workers as Ray does.

    Args:
        line: program and arguments.
        endpoint: address of the store; empty where the command needs none.
        variables: further variables of its environment.
    """
    environment = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    environment |= {"AWS_ENDPOINT_URL": endpoint} if endpoint else {}
    environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"} | variables
    environment["CXR_RAY_PATIENT_SECRET"] = "of the chaos run"
    log = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the job
    process = subprocess.Popen(
        line, env=environment, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True, cwd=REPOSITORY
    )
    return Job(process, log)


def finish(job: Job, seconds: float = START_SECONDS) -> int:
    """Wait for a job, which is killed if it takes longer than `seconds`; returns its exit code."""
    try:
        return job.process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill_job(job)
        return job.process.wait()


def kill_job(job: Job) -> list[int]:
    """Kill a driver with its process group; returns handles of the processes that it leaves."""
    left = handles_of(descendants(job.process.pid))
    os.killpg(job.process.pid, signal.SIGKILL)
    job.process.wait()
    return left


def rows_at(output_uri: str) -> pa.Table:
    """All rows of an output, sorted by image."""
    return read_table(f"{output_uri}/predictions").sort_by("image_id")


def committed_rows(output_uri: str, table: str = "predictions") -> pa.Table:
    """Rows of the files that are committed, sorted by image; a job that failed may leave other files until its next run."""
    state = OutputState(output_uri, table)
    tables = [read_table(f"{state.rows_uri}/{name}") for name in committed_files(state)]
    return pa.concat_tables(tables).sort_by("image_id")


def difference(wanted: pa.Table, found: pa.Table) -> str:
    """Name the first difference of two tables of rows, apart from the columns `OF_A_RUN`; empty if they are equal."""
    if wanted["image_id"] != found["image_id"]:
        lost, doubled = set(wanted["image_id"].to_pylist()), Counter(found["image_id"].to_pylist())
        return f"lost {sorted(lost - doubled.keys())[:3]}, double {[i for i, n in doubled.items() if n > 1][:3]}"
    for name in wanted.column_names:
        if name in OF_A_RUN:
            continue
        pairs = zip(wanted["image_id"].to_pylist(), wanted[name].to_pylist(), found[name].to_pylist(), strict=True)
        for image_id, one, other in pairs:
            is_near = isinstance(one, float) and isinstance(other, float) and abs(one - other) <= MARGIN
            if one != other and not is_near:
                return f"{name} of {image_id!r} is {other!r} in place of {one!r}"
    return ""


def wait_for_blocks(job: Job, output_uri: str, wanted: int, seconds: float = 120.0) -> list[str]:
    """Wait until a job that runs has committed so many blocks; returns the names of their marks."""
    deadline, marks = time.monotonic() + seconds, f"{output_uri}/_state/predictions/checkpoint"
    while len(names := [name for name in file_names(marks) if not name.endswith(PENDING_SUFFIX)]) < wanted:
        if job.process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"{len(names)} blocks of {wanted} are committed; the job said {job.said}")
        time.sleep(0.05)
    return names
