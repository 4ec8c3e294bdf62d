"""The scripts of cluster/slurm, and jobs under a real Slurm: trained and scored on two nodes, requeued, and in an array."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.archive.reconcile import reconcile
from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.schema import DATASET
from cxr_ray.scoring.output.state import PENDING_SUFFIX, file_names
from tests.cluster.mini_slurm import LOCAL, MiniSlurm, mini_slurm, what_is_missing

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = sorted((REPOSITORY / "cluster/slurm").glob("*.s*"))
SECONDS = 400.0
"""Longest time that a job may take, its wait in the queue included."""
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY")
IMAGES, BROKEN = 120, 6


def test_shellcheck_finds_nothing_in_the_scripts():
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("no shellcheck here; install the dev dependencies")
    assert len(SCRIPTS) == 2
    subprocess.run([program, *SCRIPTS], check=True)


def test_a_script_that_no_slurm_started_says_so():
    line = ["bash", str(SCRIPTS[0]), "jobs/classify_archive.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: this script runs inside a Slurm job; start it with sbatch\n"


@pytest.fixture(scope="module")
def slurm() -> Iterator[MiniSlurm]:
    if why := what_is_missing():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="slurm") as folder, mini_slurm(Path(folder), cpus=2) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with noisy squares (dark ones are `Normal`, bright ones `COVID`) and empty files, a manifest and a dataset."""
    folder, rng, rows = tmp_path_factory.mktemp("squares"), np.random.default_rng(0), []
    for i in range(IMAGES):
        label, level = (("Normal", 60), ("COVID", 180))[i % 2]
        path = folder / f"{i:03}.png"
        Image.fromarray(rng.normal(level, 20, (32, 32)).clip(0, 255).astype(np.uint8)).save(path)
        row = {"image_id": path.name, "uri": str(path), "label": label, "split": "train" if i < 64 else "val"}
        rows.append(dict.fromkeys(DATASET.names) | row | {"content_sha256": f"{i:064}", "duplicate_group": str(i)})
    write_table(pa.Table.from_pylist(rows[:80], schema=DATASET), str(folder / "dataset.parquet"))
    for i in range(BROKEN):
        (folder / f"empty{i}.png").touch()
        rows.append({"image_id": f"empty{i}.png", "uri": str(folder / f"empty{i}.png")})
    write_table(pa.Table.from_pylist(rows).select(["image_id", "uri"]), str(folder / "manifest.parquet"))
    return folder


def submit(slurm: MiniSlurm, log: Path, *line: str, options: tuple[str, ...] = ()) -> str:
    """Submit a job of the repository; returns its id."""
    variables = {"CXR_RAY_VENV": sys.prefix, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    options = ("--parsable", "--cpus-per-task=1", "--mem=4G", f"--output={log}", *options)
    return slurm.run("sbatch", *options, "cluster/slurm/job.sbatch", *line, **variables)


def end_of(slurm: MiniSlurm, job: str, log: Path) -> tuple[str, str, str]:
    """Wait for the end of a job; its state, exit code and number of restarts. The log is printed for a test that fails."""
    try:
        found = slurm.wait_for(job, *ENDED, seconds=SECONDS)
    finally:
        print(log.read_text() if log.exists() else f"{log} does not exist")
    return found["JobState"], found["ExitCode"], found["Restarts"]


def scoring(folder: Path, output: str, *flags: str) -> list[str]:
    """Command of a scoring job, in small blocks."""
    line = ["jobs/classify_archive.py", "--input-uri", str(folder / "manifest.parquet"), "--rows-per-block", "4"]
    return [
        *line,
        "--batch-size",
        "4",
        "--model-uri",
        str(folder / "model"),
        "--output-uri",
        str(folder / output),
        *flags,
    ]


def wait_for_rows(slurm: MiniSlurm, job: str, output: Path, log: Path) -> None:
    """Wait until a job that runs has committed some blocks of rows."""
    marks, deadline = str(output / "_state/predictions/checkpoint"), time.monotonic() + SECONDS
    while len([name for name in file_names(marks) if not name.endswith(PENDING_SUFFIX)]) < 4:
        if time.monotonic() > deadline or slurm.state(job)["JobState"] in ENDED:
            raise TimeoutError(f"job {job} committed no rows: {log.read_text()}")
        time.sleep(0.1)


def secret_of(slurm: MiniSlurm, job: str) -> str:
    """The token of a job that runs, which its user alone can read and no command line or environment shows."""
    path = Path(f"/proc/{slurm.node_pids['node1']}/root{LOCAL}/ray-{job}/token")
    assert path.stat().st_mode & 0o777 == 0o600
    token = path.read_text().strip()
    assert len(token) == 64
    for file in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        try:
            assert token not in file.read_text(errors="replace")
        except OSError:  # the process has ended
            continue
    return token


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.slow
def test_a_job_trains_and_scores_on_two_nodes_resumes_after_a_requeue_and_shares_a_node_with_an_array(slurm, folder):
    log = folder / "train.log"
    line = [
        "--dataset-uri",
        str(folder / "dataset.parquet"),
        "--output-uri",
        str(folder / "model"),
        "--num-workers",
        "2",
    ]
    small = ["--backbone", "densenet121", "--image-size", "32", "--epochs", "1", "--batch-size", "16"]
    job = submit(slurm, log, "jobs/train_classifier.py", *line, *small, options=("--nodes=2",))
    assert end_of(slurm, job, log) == ("COMPLETED", "0:0", "0")

    log = folder / "score.log"
    job = submit(slurm, log, *scoring(folder, "scores", "--max-error-rate", "1"), options=("--nodes=2",))
    wait_for_rows(slurm, job, folder / "scores", log)
    token = secret_of(slurm, job)
    slurm.run("scontrol", "requeue", job)

    # Two tasks of an array run on the first node beside the requeued job, which waits for the lost run's heartbeat.
    of_array = folder / "array-%a.log"
    line = scoring(folder, "shards", "--max-error-rate", "0", "--shard", "%a/2")
    array = submit(slurm, of_array, *line, options=("--nodes=1", "--nodelist=node1", "--array=1-2"))
    for task in ("1", "2"):  # too many errors are no reason to try again
        assert end_of(slurm, f"{array}_{task}", folder / f"array-{task}.log") == ("FAILED", "3:0", "0")

    assert end_of(slurm, job, log) == ("COMPLETED", "0:0", "1")
    assert token not in log.read_text()
    assert len(set(read_table(f"{folder}/scores/predictions")["run_id"].to_pylist())) == 2
    for output in ("scores", "shards"):
        account = reconcile(str(folder / "manifest.parquet"), f"{folder}/{output}/predictions")
        assert not account.has_loss
        assert account.statuses == {"ok": IMAGES, "error": BROKEN}
    for node in slurm.node_pids:
        assert slurm.run("ls", LOCAL, node=node) == "", "nothing of the jobs is left on the local disks"
