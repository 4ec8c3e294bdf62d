import json
from pathlib import Path

import pyarrow as pa
import pytest

from cxr_ray.archive.tables import write_table
from cxr_ray.config import ClassifyConfig
from cxr_ray.errors import GateError, StorageError
from cxr_ray.scoring.output.outcome import conclude
from cxr_ray.scoring.output.state import OutputState, finished_ids
from cxr_ray.scoring.pool import ScoringPool

POOL = ScoringPool(
    device="cpu", actors=1, most_actors=1, cpus_per_actor=1.0, threads_per_actor=1, cpus_per_load_task=1.0, load_slots=1
)
SCHEMA = pa.schema([("image_id", pa.string()), ("status", pa.string()), ("error_kind", pa.string())])


@pytest.fixture
def state(tmp_path):
    return OutputState(str(tmp_path / "out"), "predictions")


def write_block(state, name, *ids, error_kind=None):
    status = "error" if error_kind else "ok"
    rows = [{"image_id": i, "status": status, "error_kind": error_kind} for i in ids]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_table(table, f"{state.rows_uri}/{name}_000000-0.parquet")
    write_table(table.select(["image_id"]), f"{state.marks_uri}/{name}_000000.parquet")


def finish(state, images, *, scored, before=0, **options):
    config = ClassifyConfig(input_uri="in", model_uri=("m",), output_uri=state.uri, **options)
    manifest_uri = state.file_uri("manifest.parquet")
    write_table(pa.table({"image_id": list(images)}), manifest_uri)
    return conclude(state, config, manifest_uri, scored=scored, before=before, seconds=2.0, pool=POOL, run_id="r")


def test_every_row_is_counted_and_the_plan_is_deleted(state, capsys):
    write_block(state, "x", "a", "b")
    write_block(state, "y", "c", error_kind="truncated")
    write_table(pa.table({"image_id": ["a"]}), state.plan_uri("r"))
    assert finish(state, "abc", scored=2, before=1, max_error_rate=0.5) == {"ok": 2, "error": 1, "error:truncated": 1}
    record = json.loads(Path(state.uri, "run.json").read_text())
    assert (record["images_scored"], record["images_done_before"], record["images_per_second"]) == (2, 1, 1.0)
    assert (record["seconds"], record["counts"]["error:truncated"]) == (2.0, 1)
    assert not Path(state.plan_uri("r")).exists()
    assert "2 ok, 1 error (1 truncated)" in capsys.readouterr().out


def test_a_block_that_a_killed_run_committed_meanwhile_is_no_second_row(state):
    write_block(state, "killed", "a", "b")
    write_block(state, "ours", "a", "b", "c")
    assert finish(state, "abc", scored=3) == {"ok": 3}
    assert sorted(i for ids in finished_ids(state) for i in ids.to_pylist()) == ["a", "b", "c"]


def test_an_image_without_a_row_is_a_loss_though_the_number_of_rows_is_right(state):
    write_block(state, "x", "a", "b")
    write_block(state, "y", "b")
    with pytest.raises(StorageError, match=r"has no row of 1 images, such as 'c': .*the same command again"):
        finish(state, "abc", scored=3)


def test_a_row_of_an_image_that_left_the_manifest_is_no_loss(state):
    write_block(state, "x", "a", "gone")
    assert finish(state, "a", scored=0, before=2) == {"ok": 2}


def test_a_run_that_finds_nothing_to_do_has_no_rate(state, capsys):
    write_block(state, "x", "a", "b")
    assert finish(state, "ab", scored=0, before=2) == {"ok": 2}
    record = json.loads(Path(state.uri, "run.json").read_text())
    assert (record["images_scored"], record["images_done_before"], record["images_per_second"]) == (0, 2, 0.0)
    assert capsys.readouterr().out == f"2 rows in {state.rows_uri}: 2 ok\n"


def test_errors_up_to_the_rate_are_allowed(state):
    write_block(state, "x", "a", "b", "c")
    write_block(state, "y", "d", error_kind="truncated")
    assert finish(state, "abcd", scored=4, max_error_rate=0.25)["error"] == 1
    with pytest.raises(GateError, match=r"1 of 4 images are errors \(25.0%\)"):
        finish(state, "abcd", scored=4, max_error_rate=0.24)


def test_too_many_errors_fail_the_gate(state):
    write_block(state, "x", "a", error_kind="truncated")
    with pytest.raises(GateError, match=r"1 of 1 images are errors \(100.0%\), more than --max-error-rate 0.05"):
        finish(state, "a", scored=1)
