"""Environment variables for Ray, and the place of its files, where a machine is unlike what Ray expects."""

import errno
import logging
import os
import secrets
import shutil
from pathlib import Path

from cxr_ray.cluster.scratch_folder import ScratchFolder

QUIET_RAY = {
    # Ray Data passes references to objects to actors that may restart, and for each of them Ray's core writes an error
    # ("constructor arguments in the object store") on which no user can act. A failure that stops a job reaches it as a
    # Python exception.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Environment variables that keep Ray's own lines off the terminal."""
SHORT_PLACEMENT = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20"}
"""How long Ray Train waits for room for its workers until it counts the nodes again; a lost node counts for 20 seconds."""
PATIENT_START = {
    "RAY_gcs_server_port_wait_time_s": "600",  # also how long Ray tries to join a cluster that does not answer
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
}
"""Environment variables of a cluster that is started here, which otherwise gives its processes 30 or 60 seconds."""
FEW_RECORDS = {"RAY_task_events_max_num_task_in_gcs": "10000"}
"""How many tasks and calls of actors a cluster that is started here remembers for its dashboard.

By default it is 100,000, a kilobyte each; a night has more, so that the memory would grow for hours.
"""
LONGEST_SOCKET = 107
"""Maximum number of bytes of the path of a Unix socket on Linux; see unix(7)."""
SOCKET_BELOW = "/ray/session_2026-01-31_12-00-00_123456_1234567/sockets/plasma_store"
"""The longest path of a socket below the folder for temporary files that Ray uses."""
LEAST_ROOM = 64 * 2**20
"""Number of bytes that must be free where Ray keeps its files; its logs take a few MiB."""
SHORT_PLACE = "/tmp"  # noqa: S108  each job makes a folder of its own there, which no other user can enter

log = logging.getLogger("cxr_ray")


def set_ray_variables() -> None:
    """Set the variables of `QUIET_RAY` and `SHORT_PLACEMENT`; a variable that the user has set keeps its value."""
    for name, value in (QUIET_RAY | SHORT_PLACEMENT).items():
        os.environ.setdefault(name, value)


def set_start_variables() -> None:
    """Set the variables of a cluster that is about to start, with the priority of this process for its workers.

    By default Ray lowers it by 15, and training on a small machine would wait for every other program.
    """
    for name, value in (PATIENT_START | FEW_RECORDS | {"RAY_worker_niceness": "0"}).items():
        os.environ.setdefault(name, value)


def temporary_root() -> str:
    """Folder below which Ray keeps the files of a cluster that it starts, in a folder named `ray`."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or SHORT_PLACE


def set_token() -> None:
    """Give the cluster that is about to start a token of its own if the user has none, which Ray would write to `~/.ray`.

    A home may be missing or read-only. The token of the user, if there is one, is kept, so that the user's own programs
    reach the cluster.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    if not _is_readable(os.path.expanduser("~/.ray/auth_token")):  # noqa: PTH111  Path fails without a home
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _is_readable(path: str) -> bool:
    try:
        return bool(Path(path).read_text().strip())
    except (OSError, UnicodeDecodeError):
        return False


def check_room() -> None:
    """Refuse a folder for temporary files that is full: Ray's processes end there without a word, and Ray waits.

    Raises:
        OSError: if the folder's disk has less than `LEAST_ROOM` bytes left.
    """
    place = Path(temporary_root()).absolute()
    while not place.exists():
        place = place.parent
    if (left := shutil.disk_usage(place).free) < LEAST_ROOM:
        raise OSError(errno.ENOSPC, f"only {left / 2**20:.0f} MiB are free, and Ray needs {LEAST_ROOM / 2**20:.0f} MiB")


def short_folder() -> ScratchFolder | None:
    """Make a folder for the files of a cluster if the path of Ray's own would be too long for Ray's sockets, else None.

    Raises:
        OSError: if the folder cannot be made.
    """
    root = temporary_root()
    if len(os.fsencode(root.rstrip("/") + SOCKET_BELOW)) <= LONGEST_SOCKET:
        return None
    folder = ScratchFolder("ray", SHORT_PLACE)
    log.info("Ray's files are in %s, because %s is too long a path for its sockets", folder.path, root)
    return folder
