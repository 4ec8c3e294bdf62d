import logging
import stat
import threading

import pytest

from cxr_ray.errors import ConfigError
from cxr_ray.scoring.patient_secret import SECRET_VARIABLE, patient_secret


@pytest.fixture(autouse=True)
def config_home(tmp_path, monkeypatch):
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def test_the_variable_is_used_and_nothing_is_written(monkeypatch, config_home):
    monkeypatch.setenv(SECRET_VARIABLE, "of the hospital")
    assert patient_secret() == b"of the hospital"
    assert not config_home.exists()


def test_a_secret_is_made_once_for_the_user_alone(config_home, caplog):
    with caplog.at_level(logging.INFO, logger="cxr_ray"):
        made = patient_secret()
    assert len(made) == 64
    assert patient_secret() == made
    (path,) = [path for path in config_home.rglob("*") if path.is_file()]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in caplog.text
    assert made.decode() not in caplog.text


def test_another_user_has_another_secret(tmp_path, monkeypatch):
    made = patient_secret()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    assert patient_secret() != made


def test_jobs_that_start_together_share_one_secret(config_home):
    start, found = threading.Barrier(16), []

    def job():
        start.wait()
        found.append(patient_secret())

    threads = [threading.Thread(target=job) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert set(found) == {patient_secret()}
    assert [path.name for path in config_home.rglob("*") if path.is_file()] == ["patient_secret"]


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_secret_is_refused(config_home, content):
    (config_home / "cxr_ray").mkdir(parents=True)
    (config_home / "cxr_ray" / "patient_secret").write_text(content)
    with pytest.raises(ConfigError, match=f"patient_secret is empty; delete it, or set {SECRET_VARIABLE}"):
        patient_secret()


def test_empty_variables_select_the_defaults(tmp_path, monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, "")
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    made = patient_secret()
    assert (tmp_path / "home" / ".config" / "cxr_ray" / "patient_secret").read_bytes() == made
    assert not list((tmp_path / "work").iterdir())
