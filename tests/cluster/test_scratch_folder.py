"""Temporary folders, of which a killed process leaves none for long."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cxr_ray.cluster.scratch_folder import SETTLING_S, ScratchFolder

HOLD = """
import sys, time
from cxr_ray.cluster.scratch_folder import ScratchFolder
folder = ScratchFolder("mine", sys.argv[1])
print(folder.path, flush=True)
time.sleep(60)
"""


def age(path):
    """Make a folder old enough to count as left behind."""
    then = time.time() - SETTLING_S - 1
    os.utime(path, (then, then))


@pytest.fixture
def held(tmp_path):
    """A process that holds a folder in `tmp_path`, and the folder."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    path = tmp_path / child.stdout.readline().strip()
    yield child, path
    child.kill()
    child.wait()


def test_a_folder_is_deleted_with_its_object(tmp_path):
    folder = ScratchFolder("mine", str(tmp_path))
    (folder.path / "file").write_text("x")
    assert folder.path.parent == tmp_path
    path = folder.path
    del folder
    assert not path.exists()


def test_a_folder_is_deleted_once(tmp_path):
    folder = ScratchFolder("mine", str(tmp_path))
    folder.delete()
    folder.path.mkdir()
    folder.delete()
    assert folder.path.exists()


def test_what_a_killed_process_left_is_deleted_by_the_next(held, tmp_path):
    child, path = held
    age(path)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert path.exists()
    ScratchFolder("mine", str(tmp_path))
    assert not path.exists()


def test_what_a_living_process_holds_stays(held, tmp_path):
    _, path = held
    age(path)
    ScratchFolder("mine", str(tmp_path))
    assert path.exists()


def test_what_is_new_or_of_another_purpose_stays(tmp_path):
    new, other = tmp_path / "cxr_ray_scratch_mine_new", tmp_path / "cxr_ray_scratch_other_old"
    for folder in (new, other):
        folder.mkdir()
    age(other)
    ScratchFolder("mine", str(tmp_path))
    assert new.exists()
    assert other.exists()


def test_a_link_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("x")
    (tmp_path / "cxr_ray_scratch_mine_link").symlink_to(target)
    age(target)
    ScratchFolder("mine", str(tmp_path))
    assert (target / "file").exists()
