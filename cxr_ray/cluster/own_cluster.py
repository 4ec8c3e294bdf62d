"""Start a Ray cluster on this machine for one job, on slow machines and on such without a home or with long paths, too."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cxr_ray.cluster.core_lines import without_core_lines
from cxr_ray.cluster.ray_environment import check_room, set_start_variables, set_token, short_folder, temporary_root
from cxr_ray.errors import ClusterError

ATTEMPTS = 3
"""How often a cluster is started before the job fails."""
WARM_UP_S = 900
"""Seconds that Python has to import, between two attempts, what Ray's processes import."""
WARM_UP = (
    "from ray.dashboard import agent, utils; utils.get_all_modules(utils.DashboardAgentModule); "
    "import ray._private.runtime_env.agent.runtime_env_agent, ray._private.workers.default_worker"
)

log = logging.getLogger("cxr_ray")


@contextmanager
def own_cluster() -> Iterator[None]:
    """Start a cluster on this machine and join it; it ends with the block, and its workers have the job's priority.

    Raises:
        ClusterError: if the cluster does not start; the message says what to change.
    """
    import ray

    set_start_variables()
    set_token()
    try:
        check_room()
        folder = short_folder()
    except OSError as error:
        raise _no_place(error) from error
    place: dict[str, Any] = {} if folder is None else {"_temp_dir": f"{folder.path}/ray"} | _spilling()
    try:
        _start(place)
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            folder.delete()


def _spilling() -> dict[str, str]:
    """Keep objects that do not fit into memory in the user's folder for temporary files, which has room for them."""
    root = temporary_root()
    return {"object_spilling_directory": root} if os.access(root, os.W_OK | os.X_OK) else {}


def _start(place: dict[str, Any]) -> None:
    import ray

    for attempt in range(1, ATTEMPTS + 1):
        try:
            with without_core_lines():  # the core logs its level once before it applies it
                ray.init("local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False, **place)
        except Exception as error:  # for a start that takes too long Ray has no narrower class
            ray.shutdown()
            if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                raise _no_place(error) from error
            if isinstance(error, ValueError):  # such as an object store that does not fit into /dev/shm
                raise ClusterError(f"Ray cannot start on this machine: {' '.join(str(error).split())}") from error
            if attempt == ATTEMPTS:
                raise _too_slow(error, place) from error
            log.warning("Ray did not start in time; what it imports is read once, and then it is started again")
            _warm_up()
        else:
            return


def _too_slow(error: Exception, place: dict[str, Any]) -> ClusterError:
    logs = "" if place else f", or read Ray's logs in {temporary_root()}/ray/session_latest/logs"
    return ClusterError(
        f"Ray did not start on this machine in {ATTEMPTS} attempts ({_first_line(error)}); try again when the machine is "
        f"less busy, or install the packages on a faster disk{logs}"
    )


def _warm_up() -> None:
    """Read the files that Ray's processes import, which have 15 seconds for it; from then on they are in memory."""
    try:
        subprocess.run(  # noqa: S603  this Python, and a constant
            [sys.executable, "-c", WARM_UP], capture_output=True, check=False, timeout=WARM_UP_S
        )
    except subprocess.TimeoutExpired:
        log.warning("the import of Ray takes more than %s s on this machine", WARM_UP_S)


def _no_place(error: OSError) -> ClusterError:
    return ClusterError(
        f"Ray cannot keep its files in {temporary_root()} ({_first_line(error)}); name a folder that can be written, has "
        "room and has a short path, such as /tmp, in RAY_TMPDIR"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
