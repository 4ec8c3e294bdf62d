"""One run at a time on an output: an owner file that says who writes there and that a thread keeps fresh.

Storage that cannot lock (object stores, network folders) can still create a file only where none is, and show a file
that changes. A run that was killed leaves its file behind: on the same machine the process is looked for, elsewhere
the heartbeat tells.
"""

import errno
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsspec import AbstractFileSystem

from cxr_ray.archive.uris import is_local, named_failures, open_filesystem, write_bytes
from cxr_ray.errors import ResumeError, StorageError
from cxr_ray.scoring.output.owner import Owner, parse_owner, this_process
from cxr_ray.scoring.output.state import OutputState

log = logging.getLogger("cxr_ray")

BEAT_SECONDS = 20.0
FRESH_BEATS = 4.5  # as long as a heartbeat counts as fresh
WATCHED_BEATS = 1.5  # as long as another is watched: the clocks of two machines may differ
GLANCE_BEATS = 0.05  # between two looks, and for two runs that take over at once to see each other


@dataclass(frozen=True, slots=True)
class OutputLock:
    """An output that this run holds."""

    state: OutputState
    owner: Owner

    def check(self) -> None:
        """Make sure that the output is still this run's: another may have found it silent and taken over.

        Raises:
            ResumeError: if it is not, naming who holds it.
            StorageError: if the owner file cannot be read.
        """
        found = parse_owner(_read(self.state.owner_uri))
        if found is None or found.run_id != self.owner.run_id:
            holder = f"run {found.run_id} on {found.host} holds it" if found else "its owner file is gone"
            raise ResumeError(
                f"{self.state.uri} was taken from run {self.owner.run_id}: {holder}; "
                "once no run writes there, the same command again resumes"
            )


@contextmanager
def output_lock(state: OutputState, run_id: str, *, beat_seconds: float = BEAT_SECONDS) -> Iterator[OutputLock]:
    """Hold the output while the block runs, and let go of it however the block ends.

    Raises:
        ResumeError: if another run holds it; that run, its host and the mend are named.
        StorageError: if the owner file cannot be read or written.
    """
    lock = OutputLock(state, this_process(run_id))
    _acquire(lock, beat_seconds)
    stop = threading.Event()
    thread = threading.Thread(target=_keep_fresh, args=(lock, beat_seconds, stop), name="output-lock", daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        stop.set()
        thread.join()  # a beat that is under way would put the file back
        _release(lock)


def _acquire(lock: OutputLock, beat_seconds: float) -> None:
    uri, ours = lock.state.owner_uri, lock.owner.to_json()
    if _create(uri, ours) or (content := _read(uri)) == ours:  # the latter if a client tried twice, unheard
        return
    if content is not None:
        if (owner := _living_owner(uri, content, beat_seconds)) is not None:
            raise _refusal(lock.state, owner, beat_seconds)
        log.warning("taking %s over from a run that ended unannounced", lock.state.uri)
        _delete(uri)
    if not _create(uri, ours):
        raise _refusal(lock.state, parse_owner(_read(uri)), beat_seconds)
    time.sleep(GLANCE_BEATS * beat_seconds)
    lock.check()


def _living_owner(uri: str, content: bytes, beat_seconds: float) -> Owner | None:
    """The owner that `content` of the file names, or one that writes to the file while it is watched, if it lives."""
    owner = parse_owner(content)
    if owner is not None and owner.is_on_this_machine():
        return owner if owner.is_running() else None
    if owner is not None and abs(owner.seconds_silent()) < FRESH_BEATS * beat_seconds:
        return owner
    log.info("watching %s for %.0f s: does the run that left it still live?", uri, WATCHED_BEATS * beat_seconds)
    deadline = time.monotonic() + WATCHED_BEATS * beat_seconds
    while time.monotonic() < deadline:
        time.sleep(GLANCE_BEATS * beat_seconds)
        if (now := _read(uri)) != content:
            return parse_owner(now)
    return None


def _refusal(state: OutputState, owner: Owner | None, beat_seconds: float) -> ResumeError:
    who = f"run {owner.run_id} on {owner.host} (process {owner.pid})" if owner else "another run"
    unsure = owner is None or not owner.is_on_this_machine()
    hint = f" (if it was killed, try again in {FRESH_BEATS * beat_seconds:.0f} s)" if unsure else ""
    return ResumeError(
        f"{who} is writing to {state.uri}; wait until it ends, stop it, or choose another --output-uri{hint}"
    )


def _keep_fresh(lock: OutputLock, beat_seconds: float, stop: threading.Event) -> None:
    while not stop.wait(beat_seconds):
        try:
            lock.check()
            write_bytes(lock.state.owner_uri, lock.owner.beat().to_json())
        except StorageError as error:  # the storage may answer again while the last heartbeat is fresh
            log.warning("no heartbeat: %s", error)
        except ResumeError as error:  # the run itself finds out when it checks
            log.error("%s", error)
            return


def _release(lock: OutputLock) -> None:
    try:
        lock.check()
        _delete(lock.state.owner_uri)
    except (StorageError, ResumeError) as error:  # how the run ended matters more; the next finds this one gone
        log.warning("the owner file was not removed: %s", error)


def _create(uri: str, content: bytes) -> bool:
    """Put `content` at `uri` unless something stands there; whether it was put."""
    fs, path = open_filesystem(uri)
    with named_failures("write", uri):
        try:
            if is_local(fs):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                with Path(path).open("xb") as file:
                    file.write(content)
            else:
                _create_remote(fs, path, content)
        except FileExistsError:
            return False
    return True


def _create_remote(fs: AbstractFileSystem, path: str, content: bytes) -> None:
    try:
        fs.pipe_file(path, content, mode="create")
    except OSError as error:
        if fs.exists(path):
            raise FileExistsError(path) from error  # not every store says why it refused
        if error.errno != errno.ENOSYS:
            raise
        fs.pipe_file(path, content)  # no conditional writes here: whoever wrote last holds it, and `check` tells


def _read(uri: str) -> bytes | None:
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        try:
            return bytes(fs.cat_file(path))
        except FileNotFoundError:
            return None


def _delete(uri: str) -> None:
    fs, path = open_filesystem(uri)
    with named_failures("delete", uri):
        try:
            fs.rm_file(path)
        except FileNotFoundError:
            return
