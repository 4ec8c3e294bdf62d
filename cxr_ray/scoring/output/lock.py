"""Let only one run at a time write to an output: an owner file names that run, and a thread renews its heartbeat.

Storage without locks (object stores, network folders) can still create a file only if it does not exist yet, and show
that a file changes. The owner file of a killed run remains. On the same machine its process id shows whether the run is
alive; on another machine the heartbeat shows it.
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
"""Seconds between two heartbeats; the three durations below are multiples of it."""
FRESH_BEATS = 4.5  # age up to which a run may be alive, and how long such a run is watched for its next heartbeat
WATCH_BEATS = 1.5  # how long an older heartbeat is watched for a change, because two machines' clocks may differ
POLL_BEATS = 0.05  # pause between two reads of the owner file, and before a new owner checks that it is the only one


@dataclass(frozen=True, slots=True)
class OutputLock:
    """An output that this run holds.

    Attributes:
        state: the output.
        owner: this run, as its owner file names it.
    """

    state: OutputState
    owner: Owner

    def check(self) -> None:
        """Check that this run still holds the output; another run takes it over when the heartbeat is too old.

        Raises:
            ResumeError: if another run holds the output or the owner file is gone; the message names the other run.
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
    """Hold an output inside the block, and release it at the end of the block even if the block fails.

    Args:
        state: the output.
        run_id: id of this run.
        beat_seconds: seconds between two heartbeats, above 0.

    Raises:
        ResumeError: if another run holds the output; the message names that run, its host and the fix.
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
        thread.join()  # a heartbeat that is being written would create the file again
        _release(lock)


def _acquire(lock: OutputLock, beat_seconds: float) -> None:
    uri, ours = lock.state.owner_uri, lock.owner.to_json()
    if _create(uri, ours) or (content := _read(uri)) == ours:
        return  # a storage client that repeats a successful write finds its own file
    if content is not None:
        if (living := _living_content(uri, content, beat_seconds)) is not None:
            raise _refusal(lock.state, living)
        log.warning("taking over %s from a run that ended without releasing it", lock.state.uri)
        if _read(uri) == content:  # another run may have taken it over in the meantime
            _delete(uri)
    if not _create(uri, ours) and (content := _read(uri)) != ours:
        raise _refusal(lock.state, content)
    time.sleep(POLL_BEATS * beat_seconds)
    lock.check()


def _living_content(uri: str, content: bytes, beat_seconds: float) -> bytes | None:
    """Return what the owner file holds if its run is alive, or None if the run ended or released the output.

    A process of this machine is looked for. A run of another machine is alive if the file changes while it is watched,
    whether or not this version understands what the file holds. A scheduler that starts a lost run again at once
    therefore waits here until the last heartbeat of that run is too old.
    """
    owner = parse_owner(content)
    if owner is not None and owner.is_on_this_machine():
        return content if owner.is_running() else None
    is_fresh = owner is not None and abs(owner.seconds_silent()) < FRESH_BEATS * beat_seconds
    seconds = (FRESH_BEATS if is_fresh else WATCH_BEATS) * beat_seconds
    log.info("another run held %s; watching for up to %.0f s whether it is still alive", uri, seconds)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(POLL_BEATS * beat_seconds)
        if (now := _read(uri)) != content:
            return now
    return None


def _refusal(state: OutputState, content: bytes | None) -> ResumeError:
    owner = parse_owner(content)
    who = f"run {owner.run_id} on {owner.host} (process {owner.pid})" if owner else "another run"
    return ResumeError(f"{who} is writing to {state.uri}; wait until it ends, stop it, or choose another --output-uri")


def _keep_fresh(lock: OutputLock, beat_seconds: float, stop: threading.Event) -> None:
    while not stop.wait(beat_seconds):
        try:
            lock.check()
            write_bytes(lock.state.owner_uri, lock.owner.beat().to_json())
        except StorageError as error:  # the next attempt may succeed before the last heartbeat is too old
            log.warning("the heartbeat could not be written and is tried again: %s", error)
        except ResumeError as error:  # the main thread fails at its next check
            log.error("%s", error)
            return


def _release(lock: OutputLock) -> None:
    try:
        lock.check()
        _delete(lock.state.owner_uri)
    except (StorageError, ResumeError) as error:  # the run's own result counts, and the next run sees its end
        log.warning("the owner file was not removed: %s", error)


def _create(uri: str, content: bytes) -> bool:
    """Create a file with `content` at `uri`; return False if one exists there already."""
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
            raise FileExistsError(path) from error  # not every store gives the reason of its refusal
        if error.errno != errno.ENOSYS:
            raise
        fs.pipe_file(
            path, content
        )  # without conditional writes the last writer holds the output, which `check` detects


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
