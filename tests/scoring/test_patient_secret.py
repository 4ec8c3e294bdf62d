import hashlib
import hmac
import logging
import pickle
import stat
import threading
from dataclasses import asdict

import pytest

from cxr_ray.errors import ConfigError
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.scoring.patient_secret import SECRET_VARIABLE, SUBMITTED, PatientSecret, patient_secret
from cxr_ray.scoring.stages.load import LoadStage


@pytest.fixture(autouse=True)
def config_home(tmp_path, monkeypatch):
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def test_the_variable_is_used_and_nothing_is_written(monkeypatch, config_home):
    monkeypatch.setenv(SECRET_VARIABLE, "of the hospital")
    assert patient_secret().key_of("1") == PatientSecret(b"of the hospital").key_of("1")
    assert not config_home.exists()


def test_a_secret_is_made_once_for_the_user_alone(config_home, caplog):
    with caplog.at_level(logging.INFO, logger="cxr_ray"):
        fingerprint = patient_secret().fingerprint
    assert patient_secret().fingerprint == fingerprint
    (path,) = [path for path in config_home.rglob("*") if path.is_file()]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in caplog.text
    assert len(path.read_text()) == 64
    assert path.read_text() not in caplog.text


def test_another_user_has_another_secret(tmp_path, monkeypatch):
    fingerprint = patient_secret().fingerprint
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    assert patient_secret().fingerprint != fingerprint


def test_jobs_that_start_together_share_one_secret(config_home):
    start, found = threading.Barrier(16), []

    def job():
        start.wait()
        found.append(patient_secret().fingerprint)

    threads = [threading.Thread(target=job) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert set(found) == {patient_secret().fingerprint}
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
    fingerprint = patient_secret().fingerprint
    kept = (tmp_path / "home" / ".config" / "cxr_ray" / "patient_secret").read_bytes()
    assert PatientSecret(kept).fingerprint == fingerprint
    assert not list((tmp_path / "work").iterdir())


def test_a_key_depends_on_the_patient_and_the_secret():
    secret = PatientSecret(b"s")
    assert secret.key_of("MRN-0042") == hmac.new(b"s", b"MRN-0042", hashlib.sha256).hexdigest()[:16]
    assert secret.key_of(None) is secret.key_of("") is None
    assert len({secret.key_of("1"), secret.key_of("2"), PatientSecret(b"another").key_of("1")}) == 3
    assert len(secret.key_of("Ünïcode 患者")) == 16


def test_no_text_shows_a_secret():
    load = LoadStage(geometries=(), limits=DecodeLimits(), patient_secret=PatientSecret(b"planted"))
    for text in (repr(load), str(load.patient_secret), f"{load.patient_secret!r:>30}", repr(asdict(load))):
        assert "PatientSecret(***)" in text
        assert "planted" not in text
    assert pickle.loads(pickle.dumps(load)).patient_secret.key_of("1") == load.patient_secret.key_of("1")


def test_a_submitted_job_makes_no_secret(config_home, monkeypatch):
    monkeypatch.setenv(SUBMITTED, "{}")
    with pytest.raises(ConfigError, match=f"submitted to a cluster needs {SECRET_VARIABLE}, because"):
        patient_secret()
    assert not config_home.exists()


def test_a_home_that_cannot_be_written_matters_only_to_images_with_a_patient_id(config_home):
    config_home.write_text("a file")
    secret = pickle.loads(pickle.dumps(patient_secret()))  # as Ray sends it to a worker
    assert secret.key_of(None) is None
    assert secret.fingerprint == "none"
    with pytest.raises(
        ConfigError, match=rf"cannot be kept in {config_home}/.* \(Not a directory\); set {SECRET_VARIABLE}"
    ):
        secret.key_of("4711")
