"""Read and write Parquet tables at a URI: one file, or a folder of `*.parquet` files."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from cxr_ray.archive.storage_fix import fix_of
from cxr_ray.archive.uris import (
    arrow_filesystem,
    is_object,
    one_line,
    open_filesystem,
    open_for_replacement,
    storage_failures,
)
from cxr_ray.errors import StorageError

T = TypeVar("T")

FILES_AT_ONCE = 32
"""Number of small files that are read at the same time."""
SHARD_PREFIX = "shard-"
"""How the names of the folders begin that hold the rows of one shard, within the folder of a table."""


def parquet_paths(uri: str) -> list[str]:
    """List the Parquet files of the table at `uri`, as sorted paths on the filesystem of `uri`.

    The files in folders of shards (`shard-3-of-16`) belong to the table. Files whose names start with `.` or `_` are ignored, as by other readers of Parquet folders.

    Raises:
        StorageError: if there is no Parquet file at `uri`, or it cannot be listed.
    """
    fs, path = open_filesystem(uri)
    try:
        infos = [fs.info(path)] if is_object(fs, path) else fs.ls(path, detail=True)
        shards = [info["name"] for info in infos if info["type"] == "directory" and _is_of_shard(info["name"])]
        infos += [info for folder in shards for info in fs.ls(folder, detail=True)]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"no table at {uri}; name a Parquet file or a folder of them") from error
    except storage_failures() as error:
        raise StorageError(f"cannot list {uri}: {one_line(error)}; {fix_of(error)}") from error
    entries = [info["name"] for info in infos if info["type"] != "directory"]
    found = sorted(e for e in entries if e.endswith(".parquet") and e.rpartition("/")[2][0] not in "._")
    if not found:
        raise StorageError(f"no *.parquet file at {uri}; name a Parquet file or a folder of them")
    return found


def _is_of_shard(path: str) -> bool:
    return path.rstrip("/").rpartition("/")[2].startswith(SHARD_PREFIX)


def iter_batches(uri: str, columns: Sequence[str] | None = None, batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
    """Stream the table at `uri` file by file, so that memory does not grow with the table.

    Args:
        uri: a Parquet file, or a folder of them.
        columns: names of the columns to read; None reads all.
        batch_rows: maximum number of rows per batch.

    Raises:
        StorageError: if the table is missing, unreadable, or lacks one of `columns`.
    """
    fs, _ = open_filesystem(uri)
    for path in parquet_paths(uri):
        with _opened(fs, path, columns) as file:
            yield from file.iter_batches(batch_rows, columns=list(columns) if columns else None)


def iter_files(uri: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield columns of every file of a folder of small files, file by file; the next files are read in the meantime.

    Args:
        uri: a Parquet file, or a folder of them.
        columns: names of the columns to read.

    Raises:
        StorageError: if the table is missing, unreadable, or lacks one of `columns`.
    """

    def read(fs: AbstractFileSystem, path: str) -> pa.Table:
        with _opened(fs, path, columns) as file:
            return file.read(list(columns), use_threads=False)

    return (table for _, table in _many_at_once(uri, read))


def iter_schemas(uri: str) -> Iterator[tuple[str, pa.Schema]]:
    """Yield the path and the Arrow schema of every file of the table at `uri`.

    Raises:
        StorageError: if the table is missing or unreadable.
    """

    def read(fs: AbstractFileSystem, path: str) -> pa.Schema:
        with _opened(fs, path, None) as file:
            return file.schema_arrow

    return _many_at_once(uri, read)


def _many_at_once(uri: str, read: Callable[[AbstractFileSystem, str], T]) -> Iterator[tuple[str, T]]:
    """Yield each file's path and what `read` returns for it, in order, while the next files are read."""
    fs, _ = open_filesystem(uri)
    ahead: deque[tuple[str, Future[T]]] = deque()
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="read") as pool:
        for path in parquet_paths(uri):
            ahead.append((path, pool.submit(read, fs, path)))
            if len(ahead) == FILES_AT_ONCE:
                done = ahead.popleft()
                yield done[0], done[1].result()
        for path, reading in ahead:
            yield path, reading.result()


@contextmanager
def _opened(fs: AbstractFileSystem, path: str, columns: Sequence[str] | None) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, filesystem=arrow_filesystem(fs)) as file:
            missing = set(columns or ()) - set(file.schema_arrow.names)
            if missing:
                raise StorageError(
                    f"{path} has no column {', '.join(sorted(missing))}; it has {file.schema_arrow.names}"
                )
            yield file
    except (pa.ArrowException, *storage_failures()) as error:
        raise StorageError(f"{path} is not readable as Parquet: {one_line(error)}") from error


def count_rows_of(uri: str) -> int:
    """Count the rows of the table at `uri` from the ends of its files, without reading a row.

    Raises:
        StorageError: if the table is missing or unreadable.
    """
    fs, _ = open_filesystem(uri)
    rows = 0
    for path in parquet_paths(uri):
        with _opened(fs, path, None) as file:
            rows += file.metadata.num_rows
    return rows


def read_schema(uri: str) -> pa.Schema:
    """Read the Arrow schema of the first file of the table at `uri`.

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
    """Names of the columns' Arrow types by column name, equal for a schema and for a file written with that schema."""
    return {field.name: _type_name(field.type) for field in schema}


def _type_name(kind: pa.DataType) -> str:
    """Name of an Arrow type without the name of a list's values, which Parquet changes when it writes the list."""
    if pa.types.is_fixed_size_list(kind):
        return f"list<{_type_name(kind.value_type)}>[{kind.list_size}]"
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return f"list<{_type_name(kind.value_type)}>" if is_list else str(kind)


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the whole table at `uri` into memory; `iter_batches` streams a table that does not fit.

    Args:
        uri: a Parquet file, or a folder of them.
        columns: names of the columns to read; None reads all.

    Raises:
        StorageError: if the table is missing, unreadable, lacks one of `columns`, or its files differ in their columns.
    """
    batches = list(iter_batches(uri, columns))
    if batches:
        try:
            return pa.Table.from_batches(batches)
        except pa.ArrowInvalid as error:
            raise StorageError(
                f"the files at {uri} differ in their columns: {one_line(error)}; name one of the files"
            ) from error
    schema = read_schema(uri)
    return schema.empty_table().select(list(columns) if columns else schema.names)


@contextmanager
def table_writer(uri: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet writer whose file replaces `uri` only if the block ends without an exception.

    Raises:
        StorageError: if `uri` cannot be written.
    """
    with open_for_replacement(uri) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield writer


def write_table(table: pa.Table, uri: str) -> None:
    """Write `table` as one Parquet file to `uri`, replacing an earlier one in one step.

    Raises:
        StorageError: if `uri` cannot be written.
    """
    with table_writer(uri, table.schema) as writer:
        writer.write_table(table)


def table_uri(output_uri: str, name: str) -> str:
    """URI of a job's table: `output_uri` if it ends in `.parquet`, else the file `name`.parquet in that folder."""
    return output_uri if output_uri.endswith(".parquet") else f"{output_uri.rstrip('/')}/{name}.parquet"
