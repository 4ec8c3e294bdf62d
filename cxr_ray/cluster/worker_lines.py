"""Read what the workers of a job wrote last, before the nodes with their log files are gone."""

import logging
import time
from collections import deque
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cxr_ray.cluster.nodes import alive_node_ids
from cxr_ray.config.terminal import KEPT_ONLY

ASK_SECONDS = 20.0
"""Seconds that all nodes together have to answer."""
RECENT_SECONDS = 900.0
"""Age from which a log file says nothing about a failure of this moment."""
MOST_FILES, MOST_LINES, LONGEST_LINE = 8, 40, 500
"""Maximum number of files of a node, of lines of a file, and of characters of a line."""
OF_RAY = (":job_id:", ":actor_name:", ":task_name:")
"""How lines begin with which Ray marks whose output follows."""


def keep_worker_lines() -> None:
    """Add the last lines of this job's workers on every node that is alive to the kept log of the run; nothing is shown."""
    job = ray.get_runtime_context().get_job_id()
    read = ray.remote(num_cpus=0, max_retries=0)(_last_lines_here)
    asked = [
        read.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(job)
        for node in alive_node_ids()
    ]
    answered, silent = ray.wait(asked, num_returns=len(asked), timeout=ASK_SECONDS)
    kept = logging.getLogger(KEPT_ONLY)
    for answer in answered:
        try:
            for name, text in ray.get(answer).items():
                kept.error("last lines of %s:\n%s", name, text)
        except RayError:  # the node was lost while it was asked
            silent.append(answer)
    if silent:
        kept.warning("%s of %s nodes did not say what their workers wrote last", len(silent), len(asked))


def _last_lines_here(job: str) -> dict[str, str]:
    return last_lines(Path(ray._private.worker._global_node.get_logs_dir_path()), job)


def last_lines(folder: Path, job: str) -> dict[str, str]:
    """Return the last lines of the log files of a job's workers, the latest files first, by the name of the file.

    Args:
        folder: folder of the logs of Ray on this machine.
        job: id of the job, which is part of the names of its files.
    """
    files = sorted(folder.glob(f"worker-*-{job}-*.*"), key=lambda file: -file.stat().st_mtime)
    oldest = time.time() - RECENT_SECONDS
    texts = {file.name: _end_of(file) for file in files if file.stat().st_mtime >= oldest}
    return dict([(name, text) for name, text in texts.items() if text][:MOST_FILES])


def _end_of(file: Path) -> str:
    with file.open(errors="replace") as lines:
        last = deque((line.rstrip("\n")[:LONGEST_LINE] for line in lines if not line.startswith(OF_RAY)), MOST_LINES)
    return "\n".join(last).strip()
