import json
import re
from datetime import UTC, datetime

from cxr_ray.archive.run_record import is_run_record, new_run_id, versions, write_run_record, write_table_record
from cxr_ray.config import IndexConfig

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
