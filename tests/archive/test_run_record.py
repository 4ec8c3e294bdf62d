import json
import re
from datetime import UTC, datetime

import pytest

from cxr_ray.archive import run_record
from cxr_ray.archive.run_record import (
    RunRecord,
    is_finished_record,
    is_run_record,
    new_run_id,
    versions,
    write_run_record,
    write_table_record,
)
from cxr_ray.config import IndexConfig
from cxr_ray.errors import StorageError

CONFIG = IndexConfig(input_uri="in", output_uri="out", exclude=("*/masks/*",))


def test_a_record_holds_config_versions_and_facts(tmp_path):
    write_run_record(f"{tmp_path}/out #1/", CONFIG, counts={"ok": 3}, started=datetime(2025, 1, 2, tzinfo=UTC))
    record = json.loads((tmp_path / "out #1" / "run.json").read_text())
    assert record["config"]["exclude"] == ["*/masks/*"]
    assert record["counts"] == {"ok": 3}
    assert record["started"] == "2025-01-02 00:00:00+00:00"
    assert record["versions"] == versions()


def test_a_record_holds_no_secret(tmp_path):
    config = IndexConfig(input_uri="sftp://jane:pw@host/in", output_uri="s3://key:secret@bucket/out")
    write_run_record(str(tmp_path), config, model_uris=["https://host/model?sig=0a1b"])
    text = (tmp_path / "run.json").read_text()
    record = json.loads(text)
    assert (record["config"]["input_uri"], record["model_uris"]) == ("sftp://***@host/in", ["https://host/model?***"])
    for secret in ("pw", "secret", "0a1b"):
        assert secret not in text


def test_the_record_of_a_table_lies_beside_it(tmp_path):
    write_table_record(f"{tmp_path}/some.table.parquet", CONFIG, rows=1)
    assert [path.name for path in tmp_path.iterdir()] == ["_some.table.run.json"]


def test_versions_name_what_can_change_a_result():
    assert {"cxr_ray", "python", "torch", "ray", "pillow"} <= set(versions())


def test_run_ids_sort_by_start_and_differ():
    ids = [new_run_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", run_id) for run_id in ids)
    assert ids[0][:15] <= ids[-1][:15]


def test_a_record_is_known_by_its_content(tmp_path):
    write_run_record(str(tmp_path), CONFIG)
    assert is_run_record((tmp_path / "run.json").read_bytes())
    for data in (b"", b"{}", b"[1]", b"1", b"\xff", b'{"config": 1}', b'{"config": 1, "versions": null}'):
        assert not is_run_record(data)


def record_in(folder):
    return json.loads((folder / "run.json").read_text())


def test_the_record_of_a_run_says_how_far_it_is_and_then_what_came_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run_record, "RENEWAL_SECONDS", 0.0)
    with RunRecord(str(tmp_path), CONFIG, is_owner=lambda: True, run_id="r") as record:
        assert not (tmp_path / "run.json").exists(), (
            "nothing is written before the run is sure that the output is its own"
        )
        record.renew(images_done=3)
        running = record_in(tmp_path)
        assert (running["state"], running["run_id"], running["images_done"]) == ("running", "r", 3)
        assert running.keys() >= {"started", "updated", "config", "versions"}
        assert "counts" not in running
        assert not is_finished_record(f"{tmp_path}/run.json")
        record.finish(counts={"ok": 4})
        record.renew(images_done=4)
    finished = record_in(tmp_path)
    assert (finished["state"], finished["counts"]) == ("finished", {"ok": 4})
    assert "images_done" not in finished
    assert is_finished_record(f"{tmp_path}/run.json")


def test_the_record_is_renewed_at_intervals(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(run_record.time, "monotonic", lambda: clock[0])
    with RunRecord(str(tmp_path), CONFIG, is_owner=lambda: True) as record:
        record.renew(images_done=1)
        clock[0] += 29
        record.renew(images_done=2)
        assert record_in(tmp_path)["images_done"] == 1
        clock[0] += 1
        record.renew(images_done=3)
        assert record_in(tmp_path)["images_done"] == 3


def test_a_run_that_fails_says_so_unless_it_has_results_or_lost_the_output(tmp_path):
    is_ours = True

    def run(*, finish=False):
        with RunRecord(str(tmp_path), CONFIG, is_owner=lambda: is_ours) as record:
            record.renew(images_done=1)
            if finish:
                record.finish(counts={})
            raise StorageError("cannot read s3://key:secret@bucket/a")

    def fail(**options):
        with pytest.raises(StorageError, match="cannot read"):
            run(**options)

    fail()
    failed = record_in(tmp_path)
    assert (failed["state"], failed["images_done"], failed["error"]) == ("failed", 1, "cannot read s3://***@bucket/a")
    assert not is_finished_record(f"{tmp_path}/run.json")
    fail(finish=True)
    assert record_in(tmp_path)["state"] == "finished"
    is_ours = False
    fail()
    assert record_in(tmp_path)["state"] == "finished", "another run holds the output, and the record is its own"


def test_a_run_that_fails_before_it_holds_the_output_leaves_the_record_of_the_last_one(tmp_path):
    with pytest.raises(StorageError), RunRecord(str(tmp_path), CONFIG, is_owner=lambda: True):
        raise StorageError("nothing exists at in")
    assert not (tmp_path / "run.json").exists()


def test_a_record_that_cannot_be_renewed_is_a_warning(tmp_path, caplog):
    (tmp_path / "out").write_text("in the way")
    with RunRecord(str(tmp_path / "out"), CONFIG, is_owner=lambda: True) as record:
        record.renew(images_done=1)
    assert "run.json is not up to date: cannot write" in caplog.text


def test_a_record_of_an_earlier_version_is_that_of_a_finished_run(tmp_path):
    write_run_record(str(tmp_path), CONFIG)
    assert is_finished_record(f"{tmp_path}/run.json")
    assert not is_finished_record(f"{tmp_path}/elsewhere/run.json")
