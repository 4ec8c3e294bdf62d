import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cxr_ray.archive.output_owner import machine_id, parse_owner, this_process


def test_this_process_is_running_here_and_is_read_back():
    owner = this_process("run")
    assert owner.is_on_this_machine()
    assert owner.is_running()
    assert owner.pid == os.getpid()
    assert parse_owner(owner.to_json()) == owner
    assert 0 <= owner.seconds_silent() < 5


def test_a_killed_process_is_not_running_even_before_its_parent_waits_for_it():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    owner = replace(this_process("run"), pid=child.pid, process_start=start_of(child.pid))
    assert owner.is_running()
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert not owner.is_running()
    child.wait()
    assert not owner.is_running()


def test_another_process_with_the_same_id_is_not_taken_for_the_run():
    owner = this_process("run")
    assert not replace(owner, process_start=owner.process_start - 1).is_running()


def test_a_process_of_another_user_is_running():
    assert replace(this_process("run"), pid=1, process_start=start_of(1)).is_running()


def test_another_boot_host_or_namespace_is_another_machine():
    owner = this_process("run")
    assert not replace(owner, machine=f"{machine_id()}x").is_on_this_machine()
    assert not replace(owner, machine="").is_on_this_machine()


def test_silence_is_counted_from_the_heartbeat():
    owner = this_process("run")
    for seconds in (100, -100):
        past = datetime.now(UTC) - timedelta(seconds=seconds)
        assert replace(owner, heartbeat=past.isoformat()).seconds_silent() == pytest.approx(seconds, abs=5)
    assert replace(owner, heartbeat="2020-01-01T00:00:00+00:00").beat().seconds_silent() < 5


@pytest.mark.parametrize("change", [{"heartbeat": "soon"}, {"heartbeat": "2026-01-01"}, {"heartbeat": 1}, {"more": 1}])
def test_an_owner_of_another_version_is_none(change):
    content = json.loads(this_process("run").to_json()) | change
    assert parse_owner(json.dumps(content).encode()) is None


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_file_that_is_missing_or_incomplete_has_no_owner(content):
    assert parse_owner(content) is None


def start_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
