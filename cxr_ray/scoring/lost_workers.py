"""Bound how often work is repeated whose worker was lost, and say which images it was.

By default Ray Data starts a lost task or actor again for ever. A file that ends its worker would hold up a job until
somebody looks.
"""

import logging
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    WorkerCrashedError,
)
from ray.util.annotations import RayDeprecationWarning

from cxr_ray.archive.storage_fix import MAKE_ROOM, is_full
from cxr_ray.cluster.nodes import alive_node_ids
from cxr_ray.cluster.worker_lines import keep_worker_lines
from cxr_ray.errors import WorkerError
from cxr_ray.scoring.progress import Span

log = logging.getLogger("cxr_ray")

NODE_SECONDS = 15.0
"""Time in seconds in which a cluster notices that a node is gone."""
LOSSES = (ActorDiedError, ActorUnavailableError, NodeDiedError, ObjectLostError, WorkerCrashedError)
"""Exceptions of Ray for workers and objects that are gone."""
MOST_RETRIES = 4
"""Times that a block of images is started again after its worker was lost, on the way to a failure of the job."""
MOST_RESTARTS = 20
"""Times that an actor is started again in the course of a job: spot machines take theirs away every few hours."""
TASK_OPTIONS = {"max_retries": MOST_RETRIES}
"""Options of every task; Ray Data joins tasks of reading and loading only if their options are equal."""
ACTOR_OPTIONS = {"max_restarts": MOST_RESTARTS, "max_task_retries": MOST_RETRIES}
"""Options of every actor."""
_PROCESS = re.compile(r"ray::\S+ \(pid=[^)]*\)")
"""How Ray names the process of a worker in the text of an exception."""
_OTHER_CODE = re.compile(
    r"failed to import on the worker|No module named 'cxr_ray|has no attribute .* on <module 'cxr_ray"
)
"""How Ray says that a worker lacks what the driver has."""
INSTALL_THIS = (
    "the nodes of the cluster have another version of cxr_ray or none: install this one on each, send it with the job by "
    "jobs/submit.py, or set RAY_ADDRESS=local for a cluster of this machine alone, and "
)
_RAISED = re.compile(r"[\w.]*(Error|Exception|Interrupt|Exit)\b|(\w+\.)+[A-Z]\w*: ")
"""Start of the line with which Python ends a traceback."""


def span_of(doing: str, block: pa.Table) -> Span:
    """Name the images of a block of one or more rows with the column `image_id`."""
    ids = block["image_id"]
    return doing, ids[0].as_py(), ids[-1].as_py(), block.num_rows


@contextmanager
def lost_workers_named(tally: ActorHandle) -> Iterator[None]:
    """Raise a failure of Ray as one line with the worker's own last words and the images that were in progress.

    The actors of the pipeline are ended: Ray Data leaves them, and the next job of this process would wait for their
    CPUs. Ray Data's own lines about failures, with their tracebacks, do not reach the terminal.

    Raises:
        WorkerError: if the block raises an exception of Ray.
    """
    ray_data = logging.getLogger("ray.data")
    level = ray_data.level
    ray_data.setLevel(logging.CRITICAL)
    try:
        yield
    except RayError as error:
        begun, actors = _in_progress(tally)
        keep_worker_lines()
        for actor in actors:
            with suppress(RayError):
                ray.kill(actor)
        words = last_words(error)
        fix = f"{MAKE_ROOM}, and " if is_full(words) else INSTALL_THIS if _OTHER_CODE.search(words) else ""
        raise WorkerError(f"{words}; {_described(begun)}, {fix}the same command continues") from error
    finally:
        ray_data.setLevel(level)


@contextmanager
def outlived_nodes() -> Iterator[None]:
    """Swallow the loss of workers in the block where a node is lost with them, which Ray does not always make good.

    Raises:
        WorkerError: if the block raises it for another reason.
    """
    before = alive_node_ids()
    try:
        yield
    except WorkerError as error:
        if not isinstance(error.__cause__, LOSSES) or not _is_smaller_than(before):
            raise
        log.warning("a node was lost, and with it what its workers had in hand; the job goes on with the others")


def _is_smaller_than(before: set[str]) -> bool:
    """Whether the cluster loses one of the nodes `before` within a moment: it learns of a loss later than its workers."""
    deadline = time.monotonic() + NODE_SECONDS
    while time.monotonic() < deadline:
        if before - alive_node_ids():
            return True
        time.sleep(0.5)
    return False


def _in_progress(tally: ActorHandle) -> tuple[dict[Span, int], list[ActorHandle]]:
    """Ask a tally what is in progress; a tally that failed itself, such as for want of a package, knows nothing."""
    try:
        begun, actors = ray.get(tally.in_progress.remote())
    except RayError:
        return {}, []
    return begun, actors


def last_words(error: RayError) -> str:
    """Return the line of the exception that a worker raised first, or say that the worker ended without one."""
    if isinstance(error, OutOfMemoryError):
        return "Ray ended a worker because its node ran low on memory"
    raised = not isinstance(error, WorkerCrashedError | ActorUnavailableError | NodeDiedError)
    if isinstance(error, ActorDiedError):
        raised = "creation task" in str(error)
    if not raised:
        return (
            "a worker ended without a word: it was killed, ran out of memory, lost its node or crashed in native code"
        )
    lines = [line for text in str(error).splitlines() if (line := _PROCESS.sub("", text).strip())]
    causes = [line for line in lines if _RAISED.match(line)]  # the first caused the others; Ray adds its own and advice
    return next(iter(causes or reversed(lines)), type(error).__name__)


def _described(begun: dict[Span, int]) -> str:
    """Say which images were in progress, those first that were begun most often."""
    spans = sorted(begun.items(), key=lambda item: -item[1])[:3]
    named = [
        f"{doing} {first!r} to {last!r} ({images:,} images, begun {times} times)"
        for (doing, first, last, images), times in spans
    ]
    return f"in progress: {', '.join(named) or 'nothing'}; --debug shows the whole error"


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Silence one warning: Ray deprecates the only way to bound the retries of Ray Data and names no other."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
        yield
