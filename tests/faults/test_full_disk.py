"""A disk that fills in the middle of a job ends it in one line, and the same command continues when there is room."""

import os
import subprocess

import pytest

from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from tests.faults.commands import committed_rows, finish, job_line, reconcile_line, rows_at, start, wait_for_blocks

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def disk(tmp_path):
    """A disk of its own in memory, whose size a test may change."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(disk, size_bytes):
    subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(disk)], check=True)


def used_bytes(disk):
    state = os.statvfs(disk)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def test_a_disk_that_fills_ends_the_job_in_one_line_and_loses_no_row(disk, save_random, tmp_path):
    save_random(tmp_path / "bundle")
    archive = write_phantom_archive(str(tmp_path / "in"), images_per_class=30, size=64)
    line = job_line(str(tmp_path / "bundle"), str(disk / "out"), archive.uri)
    job = start(line)
    wait_for_blocks(job, str(disk / "out"), 2)
    resize(disk, used_bytes(disk) + 2 * 4096)
    assert finish(job) == 1
    last = job.said.splitlines()[-1]
    assert last.startswith("error: ")
    assert "No space left on device" in last
    assert last.endswith("make room there, and the same command continues")
    assert "Traceback" not in job.said
    full = start(line)
    assert finish(full) == 1
    assert full.said.splitlines()[-1].endswith("No space left on device; make room there; the same command continues")
    resize(disk, 64 * 2**20)
    committed = committed_rows(str(disk / "out"))
    again = start(line)
    assert finish(again) == 0, again.said
    assert finish(start(reconcile_line(str(disk / "out")))) == 0
    rows = rows_at(disk / "out")
    assert 0 < committed.num_rows < rows.num_rows == archive.images + len(archive.broken)
    kept = {row["image_id"]: row for row in rows.to_pylist()}
    assert [kept[row["image_id"]] for row in committed.to_pylist()] == committed.to_pylist()
