"""Parquet tables at a URI: one file, or a folder of `*.parquet` files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from cxr_ray.archive.uris import (
    arrow_filesystem,
    one_line,
    open_filesystem,
    open_for_replacement,
    storage_failures,
)
from cxr_ray.errors import StorageError


def parquet_paths(uri: str) -> list[str]:
    """Paths (on the filesystem of `uri`) of the Parquet files that make up the table at `uri`, sorted.

    Files whose names start with `.` or `_` do not count, as for every other reader of Parquet folders.

    Raises:
        StorageError: if nothing stands there.
    """
    fs, path = open_filesystem(uri)
    try:
        infos = [fs.info(path)] if fs.isfile(path) else fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"no table at {uri}; name a Parquet file or a folder of them") from error
    except storage_failures() as error:
        raise StorageError(f"cannot list {uri}: {one_line(error)}; check the URI and the credentials") from error
    entries = [info["name"] for info in infos if info["type"] != "directory"]
    found = sorted(e for e in entries if e.endswith(".parquet") and e.rpartition("/")[2][0] not in "._")
    if not found:
        raise StorageError(f"no *.parquet file at {uri}; name a Parquet file or a folder of them")
    return found


def iter_batches(uri: str, columns: Sequence[str] | None = None, batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
    """Stream the table at `uri` file by file, in memory that does not grow with it.

    Raises:
        StorageError: if the table is missing, unreadable, or lacks one of `columns`.
    """
    fs, _ = open_filesystem(uri)
    for path in parquet_paths(uri):
        try:
            with pq.ParquetFile(path, filesystem=arrow_filesystem(fs)) as file:
                missing = set(columns or ()) - set(file.schema_arrow.names)
                if missing:
                    raise StorageError(
                        f"{path} has no column {', '.join(sorted(missing))}; it has {file.schema_arrow.names}"
                    )
                yield from file.iter_batches(batch_rows, columns=list(columns) if columns else None)
        except (pa.ArrowException, *storage_failures()) as error:
            raise StorageError(f"{path} is not readable as Parquet: {one_line(error)}") from error


def read_schema(uri: str) -> pa.Schema:
    """Arrow schema of the first file of the table at `uri`.

    Raises:
        StorageError: if the table is missing or unreadable.
    """
    fs, _ = open_filesystem(uri)
    path = parquet_paths(uri)[0]
    try:
        return pq.read_schema(path, filesystem=arrow_filesystem(fs))
    except (pa.ArrowException, *storage_failures()) as error:
        raise StorageError(f"{path} is not readable as Parquet: {one_line(error)}") from error


def column_types(schema: pa.Schema) -> dict[str, str]:
    """Arrow types of the columns by name, in their order, the same for a schema and for a file that was written with it."""
    return {field.name: _type_name(field.type) for field in schema}


def _type_name(kind: pa.DataType) -> str:
    """The name of a type; Parquet gives the values of a list a name of its own, which says nothing."""
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return f"list<{_type_name(kind.value_type)}>" if is_list else str(kind)


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The whole table at `uri`; see `iter_batches` for one that does not fit in memory.

    Raises:
        StorageError: as `iter_batches` does, and if its files differ in their columns.
    """
    batches = list(iter_batches(uri, columns))
    if batches:
        try:
            return pa.Table.from_batches(batches)
        except pa.ArrowInvalid as error:
            raise StorageError(f"the files at {uri} differ in their columns: {one_line(error)}") from error
    schema = read_schema(uri)
    return schema.empty_table().select(list(columns) if columns else schema.names)


@contextmanager
def table_writer(uri: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet writer whose file replaces `uri` only when the block ends without an exception."""
    with open_for_replacement(uri) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield writer


def write_table(table: pa.Table, uri: str) -> None:
    """Put `table` at `uri` as one Parquet file."""
    with table_writer(uri, table.schema) as writer:
        writer.write_table(table)


def table_uri(output_uri: str, name: str) -> str:
    """Where a job puts its table: at `output_uri` if that names a Parquet file, else in the folder there."""
    return output_uri if output_uri.endswith(".parquet") else f"{output_uri.rstrip('/')}/{name}.parquet"
