"""What Ray is told where a machine has no home, long paths or little room."""

import os
import shutil
from collections import namedtuple

import pytest

from cxr_ray.cluster import ray_environment as module
from cxr_ray.cluster.ray_environment import (
    LONGEST_SOCKET,
    SOCKET_BELOW,
    check_room,
    set_ray_variables,
    set_start_variables,
    set_token,
    short_folder,
    temporary_root,
)


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """An environment without variables of Ray, and an empty home."""
    for name in [*os.environ]:
        if name.startswith("RAY_") or name == "TMPDIR":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def test_a_variable_that_the_user_has_set_keeps_its_value(environment):
    patience = "RAY_worker_register_timeout_seconds"
    environment.setenv(patience, "7")
    set_ray_variables()
    set_start_variables()
    assert os.environ[patience] == "7"
    for name in module.QUIET_RAY | module.SHORT_PLACEMENT | module.PATIENT_START | module.FEW_RECORDS:
        environment.delenv(name)


@pytest.mark.parametrize("home", ["/nonexistent", "file", "empty"])
def test_a_cluster_gets_a_token_of_its_own_and_the_home_stays_as_it_is(environment, tmp_path, home):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    environment.setenv("HOME", str(tmp_path / home))
    set_token()
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    set_token()
    assert os.environ["RAY_AUTH_TOKEN"] == token, "a later cluster of this process keeps it, as Ray does"
    assert [*(tmp_path / "empty").iterdir()] == []
    environment.delenv("RAY_AUTH_TOKEN")


@pytest.mark.parametrize(
    "given", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN_PATH": "/etc/token"}, {"HOME": "with token"}]
)
def test_the_users_own_token_or_choice_is_kept(environment, tmp_path, given):
    (tmp_path / "with token/.ray").mkdir(parents=True)
    (tmp_path / "with token/.ray/auth_token").write_text("x")
    for name, value in given.items():
        environment.setenv(name, str(tmp_path / value) if name == "HOME" else value)
    set_token()
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_ray_keeps_its_files_where_the_user_says(environment):
    assert temporary_root() == "/tmp"
    environment.setenv("TMPDIR", "/scratch")
    assert temporary_root() == "/scratch"
    environment.setenv("RAY_TMPDIR", "/ray")
    assert temporary_root() == "/ray"


@pytest.mark.parametrize("letter", ["x", "\u00fc"])
def test_a_path_that_is_too_long_for_a_socket_is_replaced_by_a_short_one(environment, caplog, letter):
    room = (LONGEST_SOCKET - len(SOCKET_BELOW) - 1) // len(letter.encode())
    environment.setenv("TMPDIR", "/" + room * letter)
    assert short_folder() is None
    environment.setenv("TMPDIR", "/" + (room + 1) * letter)
    caplog.set_level("INFO", logger="cxr_ray")
    folder = short_folder()
    assert len(f"{folder.path}{SOCKET_BELOW}".encode()) <= LONGEST_SOCKET
    assert folder.path.is_dir()
    folder.delete()


def test_a_full_disk_is_refused(environment, tmp_path):
    environment.setenv("TMPDIR", str(tmp_path / "missing" / "folder"))
    check_room()
    usage = namedtuple("usage", "free")
    environment.setattr(shutil, "disk_usage", lambda place: usage(2**20) if place == tmp_path else None)
    with pytest.raises(OSError, match="only 1 MiB are free, and Ray needs 64 MiB"):
        check_room()
