"""Plans of runs: which images of a manifest are left to score."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_ray.errors import StorageError
from cxr_ray.scoring.output.planning import check_unique, images_left, plan_blocks, write_images
from cxr_ray.scoring.output.state import OutputState, finished_ids
from tests.committed_rows import make_manifest, rows, write_block, write_parquet


@pytest.fixture
def state(tmp_path):
    return OutputState(str(tmp_path / "out"), "predictions")


def write_remaining(state, manifest, target, rows_per_block, carried=()):
    return write_images(images_left(state, manifest)[0], manifest, target, rows_per_block, carried)


def test_the_next_plan_deletes_repeated_rows_and_counts_images(state, tmp_path):
    for name in ("one", "two"):
        write_block(state, rows("a", "b"), name=name)
    plan = state.plan_uri("run")
    counts = plan_blocks(state, make_manifest(tmp_path, ["a", "b"]), plan, rows_per_block=8, retry_errors=False)
    assert counts == (0, 2)
    assert sorted(i for ids in finished_ids(state) for i in ids.to_pylist()) == ["a", "b"]
    assert pq.read_table(plan).num_rows == 0


def test_a_plan_that_retries_errors_deletes_their_rows(state, tmp_path):
    write_block(state, rows("a") + rows("b", error_kind="truncated"))
    plan, manifest = state.plan_uri("run"), make_manifest(tmp_path, ["a", "b", "c"])
    assert plan_blocks(state, manifest, plan, rows_per_block=8, retry_errors=False) == (1, 2)
    assert plan_blocks(state, manifest, plan, rows_per_block=8, retry_errors=True) == (2, 1)
    assert pq.read_table(plan)["image_id"].to_pylist() == ["b", "c"]


def test_all_images_of_an_output_of_errors_are_scored_again(state, tmp_path):
    write_block(state, rows("a", "b", error_kind="forbidden"))
    counts = plan_blocks(
        state, make_manifest(tmp_path, ["a", "b"]), state.plan_uri("run"), rows_per_block=10, retry_errors=True
    )
    assert counts == (2, 0)


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
        count = write_remaining(state, manifest, target, rows_per_block)
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
    assert write_remaining(state, manifest, target, 300_000) == 1_000_005
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
    assert write_remaining(state, uri, str(tmp_path / "left.parquet"), 10) == 2
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
    assert write_remaining(state, manifest, target, 10, ["label"]) == 2
    assert pq.read_table(target).select(["image_id", "label"]).to_pylist() == [
        {"image_id": "b", "label": None},
        {"image_id": "c", "label": "Normal"},
    ]
    with pytest.raises(StorageError, match="no column view, which this job needs; use a manifest that has it"):
        write_remaining(state, manifest, target, 10, ["label", "view"])


def test_rows_of_images_that_left_the_manifest_are_named_and_kept(state, tmp_path, caplog):
    write_block(state, rows("a", "gone"))
    plan, manifest = state.plan_uri("run"), make_manifest(tmp_path, ["a", "b"])
    with caplog.at_level("WARNING", "cxr_ray"):
        assert plan_blocks(state, manifest, plan, rows_per_block=8, retry_errors=False) == (1, 2)
    assert caplog.messages == [f"1 images have rows and are not in {manifest}; their rows are kept"]
