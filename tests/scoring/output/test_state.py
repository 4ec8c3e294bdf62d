import os
import tempfile
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_ray.archive.tables import write_table
from cxr_ray.errors import StorageError
from cxr_ray.scoring.output.state import (
    OutputState,
    check_unique,
    count_rows,
    drop_error_rows,
    drop_repeated_rows,
    finished_ids,
    plan_blocks,
    settle,
    write_remaining,
)

SCHEMA = pa.schema([("image_id", pa.string()), ("status", pa.string()), ("error_kind", pa.string())])


@pytest.fixture
def state(tmp_path):
    return OutputState(str(tmp_path / "out"), "predictions")


def rows(*ids, error_kind=None):
    status = "ok" if error_kind is None else "error"
    return [{"image_id": i, "status": status, "error_kind": error_kind} for i in ids]


def write_block(state, table_rows, *, mark="committed", files=1, name=None, second=None):
    """Write data files and a mark named as by Ray Data's checkpoint writer; return the data files' names."""
    block = f"{name or uuid.uuid4().hex}_000000"
    names = [f"{block}-{i}.parquet" for i in range(files)]
    table = pa.Table.from_pylist(table_rows, schema=SCHEMA)
    for name in names:
        write_parquet(f"{state.rows_uri}/{name}", table)
    suffix = {"committed": ".parquet", "pending": ".pending.parquet"}
    if mark in suffix:
        path = f"{state.marks_uri}/{block}{suffix[mark]}"
        write_parquet(path, table.select(["image_id"]))
        if second is not None:
            os.utime(path, (second, second))
    return names


def write_parquet(path, table, **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)


def names_in(uri):
    return {path.name for path in Path(uri).iterdir()} if Path(uri).exists() else set()


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
    assert drop_repeated_rows(state, finished_ids(state)) == 3
    ids = {n: pq.read_table(f"{state.rows_uri}/{n}")["image_id"].to_pylist() for n in (early, late, last, sound)}
    assert ids == {early: ["a", "b"], late: ["c", "d"], last: ["e"], sound: ["f"]}
    assert Path(state.rows_uri, sound).stat().st_mtime_ns == before
    assert drop_repeated_rows(state, finished_ids(state)) == 0
    settle(state)
    assert count_rows(state) == {"ok": 5, "error": 1, "error:truncated": 1}


def test_an_image_with_several_rows_in_one_file_keeps_the_first(state):
    write_block(state, rows("a", "b", "a", "a"))
    assert drop_repeated_rows(state, finished_ids(state)) == 2
    assert finished_ids(state).to_pylist() == ["a", "b"]


@pytest.mark.slow
@pytest.mark.s3
def test_repeated_rows_in_s3(bucket_uri):
    state = OutputState(f"{bucket_uri}/out #1", "predictions")
    for block in ("b", "a"):
        table = pa.Table.from_pylist(rows("x", block), schema=SCHEMA)
        write_table(table, f"{state.rows_uri}/{block}_000000-0.parquet")
        write_table(table, f"{state.marks_uri}/{block}_000000.parquet")
    assert drop_repeated_rows(state, finished_ids(state)) == 1
    assert sorted(finished_ids(state).to_pylist()) == ["a", "b", "x"]


def test_the_next_plan_deletes_repeated_rows_and_counts_images(state, tmp_path):
    for name in ("one", "two"):
        write_block(state, rows("a", "b"), name=name)
    plan = state.plan_uri("run")
    counts = plan_blocks(state, make_manifest(tmp_path, ["a", "b"]), plan, rows_per_block=8, retry_errors=False)
    assert counts == (0, 2)
    assert count_rows(state) == {"ok": 2}
    assert pq.read_table(plan).num_rows == 0


def test_a_plan_that_retries_errors_deletes_their_rows(state, tmp_path):
    write_block(state, rows("a") + rows("b", error_kind="truncated"))
    plan, manifest = state.plan_uri("run"), make_manifest(tmp_path, ["a", "b", "c"])
    assert plan_blocks(state, manifest, plan, rows_per_block=8, retry_errors=False) == (1, 2)
    assert plan_blocks(state, manifest, plan, rows_per_block=8, retry_errors=True) == (2, 1)
    assert pq.read_table(plan)["image_id"].to_pylist() == ["b", "c"]


# --- error rows that are scored again


def test_error_rows_are_deleted_and_all_other_rows_are_kept(state):
    write_block(state, rows("a", "b") + rows("c", error_kind="truncated"))
    (sound,) = write_block(state, rows("d"))
    write_block(state, rows("e", error_kind="not_found"))
    before = Path(state.rows_uri, sound).stat().st_mtime_ns
    assert drop_error_rows(state) == 2
    assert sorted(finished_ids(state).to_pylist()) == ["a", "b", "d"]
    assert count_rows(state) == {"ok": 3}
    assert Path(state.rows_uri, sound).stat().st_mtime_ns == before
    assert drop_error_rows(state) == 0
    settle(state)
    assert count_rows(state) == {"ok": 3}


def test_all_images_of_an_output_of_errors_are_scored_again(state, tmp_path):
    write_block(state, rows("a", "b", error_kind="forbidden"))
    assert drop_error_rows(state) == 2
    manifest = make_manifest(tmp_path, ["a", "b"])
    assert write_remaining(finished_ids(state), manifest, str(tmp_path / "left.parquet"), 10) == 2


def test_rows_by_status(state):
    write_block(state, rows("a", "b") + rows("c", "d", error_kind="truncated"))
    write_block(state, rows("e") + rows("f", error_kind="empty") + rows("g", error_kind="truncated"))
    assert count_rows(state) == {"ok": 3, "error": 4, "error:truncated": 3, "error:empty": 1}


def test_counting_rows_where_there_are_none(state):
    with pytest.raises(StorageError, match=r"no table at .*predictions"):
        count_rows(state)


# --- images that are left to score


def make_manifest(folder, ids, **columns):
    uri = str(folder / "manifest.parquet")
    table = pa.table(
        {"image_id": pa.array(ids, pa.string()), "uri": pa.array([f"s3://x/{i}" for i in ids], pa.string())}
    )
    for name, values in columns.items():
        table = table.append_column(name, values)
    write_parquet(uri, table)
    return uri


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    is_done=st.lists(st.booleans(), max_size=40),
    rows_per_block=st.integers(1, 12),
    manifest_group=st.integers(1, 12),
    gone=st.integers(0, 3),
    files=st.integers(1, 3),
)
def test_what_is_left_and_what_is_done_make_up_the_manifest(is_done, rows_per_block, manifest_group, gone, files):
    ids = [f"image {i}.png" for i in range(len(is_done))]
    done = [i for i, finished in zip(ids, is_done, strict=True) if finished]
    with_rows = done + [f"gone {i}" for i in range(gone)]  # rows whose images left the archive
    with tempfile.TemporaryDirectory() as folder:
        state = OutputState(f"{folder}/out", "predictions")
        for start in range(files):
            if with_rows[start::files]:
                write_block(state, rows(*with_rows[start::files]))
        manifest = make_manifest(Path(folder), ids)
        pq.write_table(pq.read_table(manifest), manifest, row_group_size=manifest_group)
        target = f"{folder}/left.parquet"
        count = write_remaining(finished_ids(state), manifest, target, rows_per_block)
        with pq.ParquetFile(target) as file:
            groups = [file.read_row_group(i) for i in range(file.num_row_groups)]
    left = [row for group in groups for row in group.to_pylist()]
    assert [row["image_id"] for row in left] == [i for i in ids if i not in done]
    assert all(row["uri"] == f"s3://x/{row['image_id']}" for row in left)
    assert count == len(left)
    assert all(group.num_rows == rows_per_block for group in groups[:-1])
    assert all(0 < group.num_rows <= rows_per_block for group in groups)


@pytest.mark.slow
def test_blocks_are_whole_across_the_batches_in_which_a_manifest_is_read(state, tmp_path):
    manifest = make_manifest(tmp_path, [f"{i}" for i in range(1_000_007)])
    write_block(state, rows("0", "500000"))
    target = str(tmp_path / "left.parquet")
    assert write_remaining(finished_ids(state), manifest, target, 300_000) == 1_000_005
    metadata = pq.read_metadata(target)
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sizes == [300_000, 300_000, 300_000, 100_005]


@pytest.mark.parametrize("string", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_manifests_of_other_writers(state, tmp_path, string):
    uri = str(tmp_path / "manifest.parquet")
    ids = pa.array(["a", "b", "c"])
    sizes = pa.array([1, None, 3], pa.int32())
    write_parquet(
        uri, pa.table({"size_bytes": sizes, "extra": [0.5] * 3, "uri": ids.cast(string), "image_id": ids.cast(string)})
    )
    write_block(state, rows("b"))
    check_unique(uri)
    assert write_remaining(finished_ids(state), uri, str(tmp_path / "left.parquet"), 10) == 2
    assert pq.read_table(tmp_path / "left.parquet").to_pylist() == [
        {"image_id": "a", "uri": "a", "size_bytes": 1},
        {"image_id": "c", "uri": "c", "size_bytes": 3},
    ]


def test_an_image_named_twice_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"names image_id 'b' more than once; make every image_id unique"):
        check_unique(make_manifest(tmp_path, ["a", "b", "c", "b"]))


def test_a_manifest_in_several_files_is_judged_as_one(tmp_path):
    for name, ids in (("one", ["a", "b"]), ("two", ["c", "a"])):
        write_parquet(str(tmp_path / f"{name}.parquet"), pa.table({"image_id": ids, "uri": ids}))
    with pytest.raises(StorageError, match="names image_id 'a' more than once"):
        check_unique(str(tmp_path))


@pytest.mark.parametrize(
    ("ids", "uris", "missing"),
    [(["a", None], ["u", "v"], 1), (["a", "b"], [None, "v"], 1), ([None] * 2, [None] * 2, 4)],
)
def test_rows_without_a_name_are_refused(tmp_path, ids, uris, missing):
    uri = str(tmp_path / "manifest.parquet")
    write_parquet(uri, pa.table({"image_id": pa.array(ids, pa.string()), "uri": pa.array(uris, pa.string())}))
    with pytest.raises(StorageError, match=f"has {missing} empty image_id or uri; fill or drop"):
        check_unique(uri)


def test_a_manifest_that_names_every_image_once_passes(tmp_path):
    check_unique(make_manifest(tmp_path, ["a", "A", "b/a", "", " a"]))
    check_unique(make_manifest(tmp_path, []))


def test_columns_of_the_manifest_are_carried_to_what_is_left(state, tmp_path):
    manifest = make_manifest(tmp_path, ["a", "b", "c"], label=pa.array(["COVID", None, "Normal"]).dictionary_encode())
    write_block(state, rows("a"))
    target = str(tmp_path / "left.parquet")
    assert write_remaining(finished_ids(state), manifest, target, 10, ["label"]) == 2
    assert pq.read_table(target).select(["image_id", "label"]).to_pylist() == [
        {"image_id": "b", "label": None},
        {"image_id": "c", "label": "Normal"},
    ]
    with pytest.raises(StorageError, match="no column view, which this job needs; use a manifest that has it"):
        write_remaining(finished_ids(state), manifest, target, 10, ["label", "view"])
