"""Tests of the lock between real processes; heartbeats of other machines are files as such machines write them."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cxr_ray.archive import output_lock as module
from cxr_ray.archive.output_lock import output_lock
from cxr_ray.archive.output_owner import Owner, parse_owner
from cxr_ray.archive.uris import exists, read_bytes, write_bytes
from cxr_ray.errors import ResumeError, StorageError
from cxr_ray.scoring.output.state import OutputState

BEAT = 0.4  # a heartbeat is fresh for 1.8 s and a silent one is watched for 0.6 s
seconds: list[float] = []
"""How long the work of each test was, see `work`."""
HOLD = """
import sys, time
from pathlib import Path
from cxr_ray.errors import ResumeError
from cxr_ray.archive.output_lock import output_lock
from cxr_ray.scoring.output.state import OutputState
uri, run_id, gate = sys.argv[1:]
print("ready", flush=True)
while not Path(gate).exists():
    time.sleep(0.001)
try:
    with output_lock(OutputState(uri, "predictions"), run_id):
        print("held", flush=True)
        time.sleep(60)
except ResumeError as error:
    print(error, flush=True)
"""


@pytest.fixture
def state(tmp_path):
    return OutputState(str(tmp_path / "out"), "predictions")


@pytest.fixture
def remote_state(bucket_uri):
    return OutputState(f"{bucket_uri}/out #1", "predictions")


@contextmanager
def process(state, run_id, gate):
    """Start a process that takes the lock once the file `gate` exists, and kill it after the block."""
    line = [sys.executable, "-c", HOLD, state.uri, run_id, str(gate)]
    child = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.wait()


def owner_of(state):
    return parse_owner(read_bytes(state.owner_uri))


def foreign(run_id="other", seconds_ago=0.0):
    heartbeat = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    return Owner(run_id=run_id, host="node-7", machine="node-7 b n", pid=12, process_start=34, heartbeat=heartbeat)


def test_a_held_output_is_refused_to_every_other_run_and_free_afterwards(state):
    with output_lock(state, "first") as lock:
        lock.check()
        host = owner_of(state).host
        message = (
            rf"^run first on {host} \(process {os.getpid()}\) is writing to {state.uri}; "
            r"wait until it ends, stop it, or choose another --output-uri$"
        )
        with pytest.raises(ResumeError, match=message), output_lock(state, "second"):
            pass
        lock.check()
    assert not exists(state.owner_uri)
    with output_lock(state, "second"):
        assert owner_of(state).run_id == "second"


def test_tables_that_share_an_output_are_held_apart(state):
    with output_lock(state, "a"), output_lock(replace(state, table="masks"), "b"):
        pass


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_run_that_fails_releases_the_output(state, failure):
    with pytest.raises(failure), output_lock(state, "first"):
        raise failure
    assert not exists(state.owner_uri)
    assert not [thread for thread in threading.enumerate() if thread.name == "output-lock"]


@pytest.mark.slow
def test_of_runs_that_start_at_the_same_moment_one_gets_the_output(state, tmp_path):
    gate = tmp_path / "gate"
    with ExitStack() as stack:
        children = [stack.enter_context(process(state, f"run-{i}", gate)) for i in range(4)]
        gate.touch()
        lines = [child.stdout.readline() for child in children]
    assert lines.count("held\n") == 1
    winner = lines.index("held\n")
    assert all(f"run run-{winner} on " in line for i, line in enumerate(lines) if i != winner)


@pytest.mark.slow
def test_an_output_is_free_at_once_when_its_run_was_killed_on_this_machine(state, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    with process(state, "killed", gate) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(ResumeError, match=r"run killed on .* is writing to"), output_lock(state, "next"):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        began = time.monotonic()
        with output_lock(state, "next"):
            assert owner_of(state).run_id == "next"
        assert time.monotonic() - began < 5, "the heartbeat was 90 s from stale"


def test_the_heartbeat_is_kept_fresh(state):
    with output_lock(state, "first", beat_seconds=0.05) as lock:
        before = owner_of(state)
        time.sleep(0.3)
        assert owner_of(state).heartbeat > before.heartbeat
        assert replace(owner_of(state), heartbeat="") == replace(before, heartbeat="")
        lock.check()


@contextmanager
def beating(state, content):
    """Write what `content()` returns to the owner file at every beat of the block, as a run of another machine does."""
    stop = threading.Event()

    def beat():
        while not stop.wait(BEAT):
            write_bytes(state.owner_uri, content())

    write_bytes(state.owner_uri, content())
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("seconds_ago", [0, 3600, -3600])
def test_a_run_of_another_machine_is_seen_to_be_alive_whatever_its_clock_says(state, seconds_ago):
    message = r"run other on node-7 \(process 12\) is writing to .*; wait until it ends, stop it, or choose another"
    with (
        beating(state, lambda: foreign(seconds_ago=seconds_ago).to_json()),
        pytest.raises(ResumeError, match=message),
        output_lock(state, "next", beat_seconds=BEAT),
    ):
        pass
    assert owner_of(state).run_id == "other"


@pytest.mark.slow
def test_a_living_run_of_another_version_is_not_taken_over(state):
    beats = iter(range(10**6))
    with (
        beating(state, lambda: b'{"run_id": "newer", "beat": %d}' % next(beats)),
        pytest.raises(ResumeError, match="another run is writing to"),
        output_lock(state, "next", beat_seconds=BEAT),
    ):
        pass


@pytest.mark.slow
def test_a_run_that_is_started_again_at_once_on_another_machine_waits_for_the_lost_one_and_goes_on(state):
    write_bytes(state.owner_uri, foreign(seconds_ago=0).to_json())
    began = time.monotonic()
    with output_lock(state, "next", beat_seconds=BEAT) as lock:
        lock.check_beat()  # the time of waiting does not count
        assert owner_of(state).run_id == "next"
        assert owner_of(state).seconds_silent() < BEAT
    assert 4 * BEAT < time.monotonic() - began < 12 * BEAT


@pytest.mark.slow
@pytest.mark.parametrize("seconds_ago", [3600, -3600])
def test_an_output_is_taken_over_from_a_silent_run_of_another_machine(state, seconds_ago):
    write_bytes(state.owner_uri, foreign(seconds_ago=seconds_ago).to_json())
    with output_lock(state, "next", beat_seconds=BEAT) as lock:
        assert owner_of(state).run_id == "next"
        lock.check()


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b'{"run_id": "newer"}'])
def test_an_owner_file_without_an_owner_is_taken_over_when_it_does_not_change(state, content):
    write_bytes(state.owner_uri, content)
    with output_lock(state, "next", beat_seconds=BEAT):
        assert owner_of(state).run_id == "next"


def work(state, run_id, begin):
    """Hold the output for half a minute after `begin()`, or until the work is interrupted."""
    began = time.monotonic()
    with output_lock(state, run_id, beat_seconds=BEAT):
        begin()
        try:
            time.sleep(30)
        finally:
            seconds.append(time.monotonic() - began)


@pytest.mark.slow
def test_work_is_interrupted_when_another_run_takes_the_output(state):
    with pytest.raises(ResumeError, match="was taken from run slow: run other on node-7 holds it; once no run"):
        work(state, "slow", lambda: write_bytes(state.owner_uri, foreign().to_json()))
    assert seconds[-1] < 15
    assert owner_of(state).run_id == "other"


@pytest.fixture
def failing_storage(monkeypatch):
    """Let every further heartbeat fail, or wait until the event is set."""

    def fail(event=None):
        def write(uri, data):
            del uri, data
            if event is not None:
                event.wait(30)
            raise StorageError("cannot write: no route to host")

        monkeypatch.setattr(module, "write_bytes", write)

    return fail


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [False, True])
def test_a_run_that_cannot_write_its_heartbeat_ends_before_another_may_take_over(state, failing_storage, hangs):
    hanging = threading.Event() if hangs else None
    if hanging is not None:
        threading.Timer(6 * BEAT, hanging.set).start()
    message = r"^run first could not write its heartbeat to .* for 2 s, and another run may"
    with pytest.raises(ResumeError, match=message):
        work(state, "first", lambda: failing_storage(hanging))
    assert 4 * BEAT <= seconds[-1] < 4.5 * BEAT + 1


def test_a_heartbeat_that_fails_once_costs_nothing(state, failing_storage, monkeypatch):
    with output_lock(state, "first", beat_seconds=BEAT) as lock:
        failing_storage()
        time.sleep(1.5 * BEAT)
        monkeypatch.undo()
        time.sleep(3.5 * BEAT)
        lock.check()


@pytest.mark.slow
def test_a_run_in_another_thread_learns_of_its_loss_at_its_next_check(state, failing_storage):
    found = []

    def run():
        with suppress(ResumeError), output_lock(state, "first", beat_seconds=BEAT) as lock:
            failing_storage()
            time.sleep(5 * BEAT)
            found.append(lock.lost)
            lock.check()
            found.append("went on")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert [str(error).partition(" to ")[0] for error in found] == ["run first could not write its heartbeat"]


def test_a_run_whose_owner_file_was_deleted_notices(state):
    with output_lock(state, "first") as lock:
        Path(state.owner_uri).unlink()
        with pytest.raises(ResumeError, match="was taken from run first: its owner file is gone"):
            lock.check()


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(StorageError, match=r"cannot write .*/file/out/_state/predictions.owner.json"),
        output_lock(OutputState(str(tmp_path / "file" / "out"), "predictions"), "run"),
    ):
        pass


class UnconditionalStore(MemoryFileSystem):
    """Storage that refuses conditional writes as not implemented."""

    protocol = "unconditional"

    def pipe_file(self, path, value, mode="overwrite", **options):
        if mode == "create":
            raise OSError(errno.ENOSYS, "A header you provided implies functionality that is not implemented")
        super().pipe_file(path, value, mode, **options)


@pytest.mark.parametrize("scheme", ["memory", "unconditional"])
def test_an_output_in_other_storage_is_held_by_one_run(scheme):
    fsspec.register_implementation("unconditional", UnconditionalStore, clobber=True)
    state = OutputState(f"{scheme}://{scheme}/out", "predictions")
    with output_lock(state, "first") as lock:
        with pytest.raises(ResumeError, match="run first on "), output_lock(state, "second"):
            pass
        lock.check()
    assert not exists(state.owner_uri)


@pytest.mark.s3
def test_an_output_in_s3_is_held_by_one_run(remote_state):
    with output_lock(remote_state, "first", beat_seconds=0.5) as lock:
        time.sleep(0.6)
        with pytest.raises(ResumeError, match="run first on "), output_lock(remote_state, "second"):
            pass
        lock.check()
    assert not exists(remote_state.owner_uri)
    with output_lock(remote_state, "second"):
        pass


@pytest.mark.slow
@pytest.mark.s3
def test_an_output_in_s3_is_taken_over_from_a_silent_run(remote_state):
    gone = json.loads(foreign(seconds_ago=3600).to_json())
    write_bytes(remote_state.owner_uri, json.dumps(gone).encode())
    with output_lock(remote_state, "next", beat_seconds=BEAT):
        assert owner_of(remote_state).run_id == "next"


@pytest.mark.s3
def test_a_bucket_that_is_missing_is_named(s3):
    with (
        pytest.raises(StorageError, match=r"cannot write s3://no-such-bucket/out/_state/predictions.owner.json: "),
        output_lock(OutputState("s3://no-such-bucket/out", "predictions"), "run"),
    ):
        pass
