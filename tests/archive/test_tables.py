import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_ray.archive.tables import (
    FILES_AT_ONCE,
    column_types,
    count_rows_of,
    iter_batches,
    iter_files,
    iter_schemas,
    parquet_paths,
    read_schema,
    read_table,
    table_uri,
    table_writer,
    write_table,
)
from cxr_ray.archive.uris import write_bytes
from cxr_ray.errors import StorageError
from cxr_ray.schema import DATASET, LABELS, MANIFEST, MASKS, embeddings_schema, predictions_schema

TABLE = pa.table({"image_id": ["a", "b", "c"], "n": [1, 2, 3]})


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request, tmp_path):
    return f"{tmp_path if request.param == 'local' else request.getfixturevalue('bucket_uri')}/out #1 [é]"


def test_a_table_comes_back_from_a_file_and_from_its_folder(place):
    write_table(TABLE, f"{place}/t.parquet")
    assert read_table(f"{place}/t.parquet").equals(TABLE)
    assert read_table(place).equals(TABLE)
    assert read_table(place, ["n"]).column_names == ["n"]
    assert read_schema(place).equals(TABLE.schema)


@pytest.mark.parametrize(
    "schema",
    [MASKS, predictions_schema(LABELS, ("a_", "b_")), embeddings_schema((4, 6), ("a_", "b_")), DATASET, MANIFEST],
)
def test_columns_have_the_types_in_a_file_that_they_have_in_its_schema(schema, tmp_path):
    write_table(schema.empty_table(), str(tmp_path / "t.parquet"))
    types = column_types(read_schema(str(tmp_path / "t.parquet")))
    assert types == column_types(schema)
    assert list(types) == schema.names


def test_a_folder_is_its_parquet_files_in_order_of_name(place):
    write_table(TABLE.slice(2), f"{place}/part-2.parquet")
    write_table(TABLE.slice(0, 2), f"{place}/part-1.parquet")
    for name in ("_metadata.parquet", ".part-0.parquet", "_SUCCESS", "run.json", "below/t.parquet", "folder.parquet/x"):
        write_bytes(f"{place}/{name}", b"not to be read")
    assert [path.rpartition("/")[2] for path in parquet_paths(place)] == ["part-1.parquet", "part-2.parquet"]
    assert read_table(place).equals(TABLE)


def test_a_folder_named_like_a_file_is_a_table_too(place):
    write_table(TABLE, f"{place}/spark.parquet/part-0.parquet")
    assert read_table(f"{place}/spark.parquet").equals(TABLE)


def test_columns_come_as_asked_whatever_their_order_in_the_files(place):
    write_table(TABLE, f"{place}/1.parquet")
    write_table(TABLE.select(["n", "image_id"]), f"{place}/2.parquet")
    assert read_table(place, ["image_id", "n"]).equals(pa.concat_tables([TABLE, TABLE]))
    with pytest.raises(StorageError, match="differ in their columns"):
        read_table(place)


def test_batches_are_bounded(tmp_path):
    write_table(TABLE, f"{tmp_path}/t.parquet")
    assert [batch.num_rows for batch in iter_batches(f"{tmp_path}/t.parquet", batch_rows=2)] == [2, 1]


def test_an_empty_table_keeps_its_columns(tmp_path):
    write_table(TABLE.slice(0, 0), f"{tmp_path}/t.parquet")
    assert read_table(f"{tmp_path}/t.parquet").schema.equals(TABLE.schema)
    assert read_table(f"{tmp_path}/t.parquet", ["n"]).column_names == ["n"]


def test_what_is_missing_is_named(place):
    write_table(TABLE, f"{place}/t.parquet")
    write_bytes(f"{place}/empty/x", b"")
    with pytest.raises(StorageError, match=r"no (table|\*\.parquet file) at .*/none; name a Parquet file or a folder"):
        read_table(f"{place}/none")
    with pytest.raises(StorageError, match=r"no \*\.parquet file at .*/empty; name"):
        read_table(f"{place}/empty")
    with pytest.raises(StorageError, match=r"t\.parquet has no column uri, zebra; it has \['image_id', 'n'\]"):
        read_table(place, ["zebra", "image_id", "uri"])


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "zeros", "footer"])
def test_damaged_files_are_named(damage, tmp_path):
    write_table(TABLE, f"{tmp_path}/t.parquet")
    raw = (tmp_path / "t.parquet").read_bytes()
    damaged = {
        "empty": b"",
        "text": b"hello" * 50,
        "cut": raw[: len(raw) // 2],
        "zeros": raw[:4] + bytes(len(raw) - 12) + raw[-8:],
        "footer": raw[:-40] + b"\xff" * 32 + raw[-8:],
    }
    (tmp_path / "t.parquet").write_bytes(damaged[damage])
    for read in (read_table, read_schema):
        with pytest.raises(StorageError, match=rf"{tmp_path}/t\.parquet is not readable as Parquet: .") as error:
            read(f"{tmp_path}/t.parquet")
        assert "\n" not in str(error.value)


def _fail_between_rows(uri: str) -> None:
    with table_writer(uri, TABLE.schema) as writer:
        writer.write_table(TABLE)
        raise ValueError("the caller's own")


def test_a_writer_that_fails_leaves_the_old_table(place):
    write_table(TABLE.slice(1), f"{place}/t.parquet")
    with pytest.raises(ValueError, match="the caller's own"):
        _fail_between_rows(f"{place}/t.parquet")
    assert read_table(place).equals(TABLE.slice(1))


def test_rows_are_compressed_with_zstd(tmp_path):
    write_table(TABLE, f"{tmp_path}/t.parquet")
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("x.parquet", "x.parquet"),
        ("out", "out/manifest.parquet"),
        ("s3://b/out/", "s3://b/out/manifest.parquet"),
        ("s3://b", "s3://b/manifest.parquet"),
    ],
)
def test_where_a_job_puts_its_table(output, expected):
    assert table_uri(output, "manifest") == expected


def test_many_small_files_are_read_in_their_order(place):
    count = FILES_AT_ONCE + 3
    for number in range(count):
        write_table(
            pa.table({"image_id": [f"{number}"], "n": [number], "extra": [0.5]}), f"{place}/{number:03}.parquet"
        )
    tables = list(iter_files(place, ["n", "image_id"]))
    assert [table.to_pylist() for table in tables] == [[{"n": i, "image_id": f"{i}"}] for i in range(count)]
    assert [path.rpartition("/")[2] for path, _ in iter_schemas(place)] == [f"{i:03}.parquet" for i in range(count)]
    assert all(schema.names == ["image_id", "n", "extra"] for _, schema in iter_schemas(place))
    assert count_rows_of(place) == count


def test_a_small_file_that_cannot_be_read_is_named(place):
    write_table(TABLE, f"{place}/1.parquet")
    write_bytes(f"{place}/2.parquet", b"no Parquet")
    for reading in (
        lambda: list(iter_files(place, ["n"])),
        lambda: list(iter_schemas(place)),
        lambda: count_rows_of(place),
    ):
        with pytest.raises(StorageError, match=r"2\.parquet is not readable as Parquet"):
            reading()
    write_table(TABLE.select(["n"]), f"{place}/2.parquet")
    with pytest.raises(StorageError, match=r"2\.parquet has no column image_id; it has \['n'\]"):
        list(iter_files(place, ["image_id"]))
