"""Let only one run at a time write to an output: an owner file names that run, and a thread renews its heartbeat.

Storage without locks (object stores, network folders) can still create a file only if it does not exist yet, and show
that a file changes. The owner file of a killed run remains. On the same machine its process id shows whether the run is
alive; on another machine the heartbeat shows it.
"""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from cxr_ray.archive.create_once import Creation, create_once
from cxr_ray.archive.output_owner import Owner, parse_owner, this_process
from cxr_ray.archive.uris import named_failures, open_filesystem, write_bytes
from cxr_ray.errors import ResumeError, StorageError

log = logging.getLogger("cxr_ray")

BEAT_SECONDS = 20.0
"""Seconds between two heartbeats; the durations below are multiples of it."""
FRESH_BEATS = 4.5  # age up to which a run may be alive, and how long such a run is watched for its next heartbeat
WATCH_BEATS = 1.5  # how long an older heartbeat is watched for a change, because two machines' clocks may differ
LAST_BEATS = 4.0  # age from which a run gives its output up, before another can take it over
POLL_BEATS = 0.05  # pause between two reads of the owner file, and before a new owner checks that it is the only one

INTERRUPT = signal.SIGVTALRM
"""Signal that interrupts work in the main thread when the output is lost; batch systems use others."""


class HeldOutput(Protocol):
    """An output of which one run at a time is the owner."""

    @property
    def uri(self) -> str:
        """URI of the output folder, which messages name."""

    @property
    def owner_uri(self) -> str:
        """URI of the owner file."""


class OutputLock:
    """An output that this run holds.

    Args:
        output: the output.
        owner: this run, as its owner file names it.
        beat_seconds: seconds between two heartbeats.

    Attributes:
        lost: why this run holds the output no longer; None as long as it does.
        in_main_thread: whether the work that needs the output runs in the main thread.
    """

    def __init__(self, output: HeldOutput, owner: Owner, beat_seconds: float) -> None:
        self.output, self.owner, self.beat_seconds = output, owner, beat_seconds
        self.lost: ResumeError | None = None
        self._last_beat = _seconds_since_boot()
        self.in_main_thread = threading.current_thread() is threading.main_thread()

    def check(self) -> None:
        """Check that this run still holds the output; another run takes it over when the heartbeat is too old.

        Raises:
            ResumeError: if another run holds the output or the owner file is gone (the message names the other run), or
                if no heartbeat could be written for so long that another run may hold the output.
            StorageError: if the owner file cannot be read.
        """
        if self.lost is not None:
            raise self.lost
        found = parse_owner(_read(self.output.owner_uri))
        if found is None or found.run_id != self.owner.run_id:
            holder = f"run {found.run_id} on {found.host} holds it" if found else "its owner file is gone"
            raise ResumeError(
                f"{self.output.uri} was taken from run {self.owner.run_id}: {holder}; "
                "once no run writes there, the same command again resumes"
            )

    def beat(self) -> None:
        """Write a heartbeat, unless the run holds the output no longer; raises what `check` raises."""
        began = _seconds_since_boot()
        self.check()
        write_bytes(self.output.owner_uri, self.owner.beat().to_json())
        self._last_beat = began

    def check_beat(self) -> None:
        """Raise `ResumeError` if the last heartbeat is so old that another run may take the output over."""
        if _seconds_since_boot() - self._last_beat > LAST_BEATS * self.beat_seconds:
            raise ResumeError(
                f"run {self.owner.run_id} could not write its heartbeat to {self.output.owner_uri} for "
                f"{LAST_BEATS * self.beat_seconds:.0f} s, and another run may have taken the output over; once no run "
                "writes there, the same command again resumes"
            )

    def lose(self, error: ResumeError) -> None:
        """Note that the run holds the output no longer, and interrupt its work if that is in the main thread."""
        if self.lost is None:
            self.lost = error
            log.error("%s", error)
            if self.in_main_thread:
                signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)


@contextmanager
def output_lock(output: HeldOutput, run_id: str, *, beat_seconds: float = BEAT_SECONDS) -> Iterator[OutputLock]:
    """Hold an output inside the block, and release it at the end of the block even if the block fails.

    A block in the main thread is interrupted when the run holds the output no longer; in another thread `check` tells.

    Args:
        output: the output.
        run_id: id of this run.
        beat_seconds: seconds between two heartbeats, above 0.

    Raises:
        ResumeError: if another run holds the output (the message names that run, its host and the fix), or if this run
            lost it.
        StorageError: if the owner file cannot be read or written.
    """
    lock = OutputLock(output, this_process(run_id), beat_seconds)
    _acquire(lock)
    try:
        with _interrupted_when_lost(lock), _kept_fresh(lock):
            yield lock
    except BaseException as failure:
        if lock.lost is not None and failure is not lock.lost:
            raise lock.lost from failure
        raise
    finally:
        _release(lock)


@contextmanager
def _kept_fresh(lock: OutputLock) -> Iterator[None]:
    """Renew the heartbeat in a thread until the block ends, and watch its age in another."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=keep, args=(lock, stop), name="output-lock", daemon=True)
        for keep in (_keep_beating, _keep_watch)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()  # a heartbeat that is being written would create the file again


@contextmanager
def _interrupted_when_lost(lock: OutputLock) -> Iterator[None]:
    """Let the signal `INTERRUPT` raise why the output was lost; only the main thread handles signals."""
    if not lock.in_main_thread:
        yield
        return

    def stop_work(*signal_and_frame: Any) -> None:
        if lock.lost is not None:
            raise lock.lost
        if callable(before):  # the signal is for a lock outside this one
            before(*signal_and_frame)

    before = signal.signal(INTERRUPT, stop_work)
    try:
        yield
    finally:
        signal.signal(INTERRUPT, before)


def _acquire(lock: OutputLock) -> None:
    beat_seconds, uri, ours = lock.beat_seconds, lock.output.owner_uri, lock.owner.to_json()
    if _create(uri, ours):
        return
    if (content := _read(uri)) is not None:
        if (living := _living_content(uri, content, beat_seconds)) is not None:
            raise _refusal(lock.output, living)
        log.warning("taking over %s from a run that ended without releasing it", lock.output.uri)
        if _read(uri) == content:  # another run may have taken it over in the meantime
            _delete(uri)
    if not _create(uri, ours):
        raise _refusal(lock.output, _read(uri))
    time.sleep(POLL_BEATS * beat_seconds)
    lock.beat()  # the wait for the lost run does not count as the age of this one's heartbeat


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


def _refusal(output: HeldOutput, content: bytes | None) -> ResumeError:
    owner = parse_owner(content)
    who = f"run {owner.run_id} on {owner.host} (process {owner.pid})" if owner else "another run"
    return ResumeError(f"{who} is writing to {output.uri}; wait until it ends, stop it, or choose another --output-uri")


def _keep_beating(lock: OutputLock, stop: threading.Event) -> None:
    while not stop.wait(lock.beat_seconds):
        try:
            lock.beat()
        except StorageError as error:  # the next attempt may succeed before the last heartbeat is too old
            log.warning("the heartbeat could not be written and is tried again: %s", error)
        except ResumeError as error:
            lock.lose(error)
            return


def _keep_watch(lock: OutputLock, stop: threading.Event) -> None:
    """Give the output up when the last heartbeat is too old, even while the storage hangs over the next one."""
    while not stop.wait(POLL_BEATS * lock.beat_seconds):
        try:
            lock.check_beat()
        except ResumeError as error:
            lock.lose(error)
            return


def _seconds_since_boot() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _release(lock: OutputLock) -> None:
    try:
        lock.check()
        _delete(lock.output.owner_uri)
    except (StorageError, ResumeError) as error:  # the run's own result counts, and the next run sees its end
        log.warning("the owner file was not removed: %s", error)


def _create(uri: str, content: bytes) -> bool:
    """Create a file with `content` at `uri`; return False if another one exists there already.

    Without conditional writes the last writer holds the output, which `check` detects.
    """
    fs, path = open_filesystem(uri)
    with named_failures("write", uri):
        return create_once(fs, path, content) is not Creation.EXISTS


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
