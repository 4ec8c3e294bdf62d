from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_ray.archive.id_accounts import repeated_ids
from cxr_ray.archive.tables import write_table
from cxr_ray.scoring.output.state import (
    OutputState,
    drop_error_rows,
    drop_repeated_rows,
    finished_ids,
    settle,
)
from tests.committed_rows import SCHEMA, names_in, rows, write_block, write_parquet


@pytest.fixture
def state(tmp_path):
    return OutputState(str(tmp_path / "out"), "predictions")


def ids_of(state):
    return [image_id for ids in finished_ids(state) for image_id in ids.to_pylist()]


# --- files that are committed


def test_settle_keeps_committed_files_and_deletes_all_others(state):
    committed = [*write_block(state, rows("a")), *write_block(state, rows("b"), files=12)]
    write_block(state, rows("c"), mark="pending")
    write_block(state, rows("d"), mark=None)
    write_parquet(f"{state.rows_uri}/stray.parquet", pa.Table.from_pylist(rows("e"), schema=SCHEMA))
    marks = {name for name in names_in(state.marks_uri) if ".pending." not in name}
    settle(state)
    assert names_in(state.rows_uri) == set(committed)
    assert names_in(state.marks_uri) == marks
    settle(state)
    assert names_in(state.rows_uri) == set(committed)


def test_a_block_with_both_marks_is_committed(state):
    (name,) = write_block(state, rows("a"))
    write_parquet(f"{state.marks_uri}/{name.replace('-0.parquet', '.pending.parquet')}", pa.table({"image_id": ["a"]}))
    settle(state)
    assert names_in(state.rows_uri) == {name}
    assert names_in(state.marks_uri) == {name.replace("-0", "")}


def test_a_pending_mark_without_its_file_goes(state):
    (name,) = write_block(state, rows("a"), mark="pending")
    Path(state.rows_uri, name).unlink()
    settle(state)
    assert names_in(state.rows_uri) == names_in(state.marks_uri) == set()


def test_settling_an_output_without_rows(state):
    settle(state)


def test_settle_deletes_the_plans_of_runs_that_are_over(state):
    manifest = pa.table({"image_id": ["a"]})
    write_parquet(state.plan_uri("20260101T000000-aaaaaa"), manifest)
    write_parquet(state.plan_uri("20260101T000001-bbbbbb"), manifest)
    write_parquet(state.file_uri("manifest.parquet"), manifest)
    settle(state)
    assert names_in(state.file_uri("")) == {"manifest.parquet"}


# --- images that have several rows


def test_an_image_with_several_rows_keeps_the_row_that_was_committed_first(state):
    (late,) = write_block(state, rows("b", "c", "d"), name="0-sorts-first", second=2_000)
    (early,) = write_block(state, rows("a", "b"), name="1", second=1_000)
    (last,) = write_block(state, rows("a", "e", "c", error_kind="truncated"), name="2", second=3_000)
    (sound,) = write_block(state, rows("f"), name="3", second=4_000)
    before = Path(state.rows_uri, sound).stat().st_mtime_ns
    assert drop_repeated_rows(state, repeated_ids(finished_ids(state))) == 3
    ids = {n: pq.read_table(f"{state.rows_uri}/{n}")["image_id"].to_pylist() for n in (early, late, last, sound)}
    assert ids == {early: ["a", "b"], late: ["c", "d"], last: ["e"], sound: ["f"]}
    assert Path(state.rows_uri, sound).stat().st_mtime_ns == before
    assert drop_repeated_rows(state, repeated_ids(finished_ids(state))) == 0
    settle(state)
    assert sorted(ids_of(state)) == ["a", "b", "c", "d", "e", "f"]


def test_an_image_with_several_rows_in_one_file_keeps_the_first(state):
    write_block(state, rows("a", "b", "a", "a"))
    assert drop_repeated_rows(state, repeated_ids(finished_ids(state))) == 2
    assert ids_of(state) == ["a", "b"]


@pytest.mark.slow
@pytest.mark.s3
def test_repeated_rows_in_s3(bucket_uri):
    state = OutputState(f"{bucket_uri}/out #1", "predictions")
    for block in ("b", "a"):
        table = pa.Table.from_pylist(rows("x", block), schema=SCHEMA)
        write_table(table, f"{state.rows_uri}/{block}_000000-0.parquet")
        write_table(table, f"{state.marks_uri}/{block}_000000.parquet")
    assert drop_repeated_rows(state, repeated_ids(finished_ids(state))) == 1
    assert sorted(ids_of(state)) == ["a", "b", "x"]


# --- error rows that are scored again


def test_error_rows_are_deleted_and_all_other_rows_are_kept(state):
    write_block(state, rows("a", "b") + rows("c", error_kind="truncated"))
    (sound,) = write_block(state, rows("d"))
    write_block(state, rows("e", error_kind="not_found"))
    before = Path(state.rows_uri, sound).stat().st_mtime_ns
    assert drop_error_rows(state) == 2
    assert sorted(ids_of(state)) == ["a", "b", "d"]
    assert Path(state.rows_uri, sound).stat().st_mtime_ns == before
    assert drop_error_rows(state) == 0
    settle(state)
