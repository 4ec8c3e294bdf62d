"""Outputs as Ray Data's checkpoint writer leaves them: data files of rows with their marks."""

import os
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema([("image_id", pa.string()), ("status", pa.string()), ("error_kind", pa.string())])


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


def make_manifest(folder, ids, **columns):
    uri = str(folder / "manifest.parquet")
    table = pa.table(
        {"image_id": pa.array(ids, pa.string()), "uri": pa.array([f"s3://x/{i}" for i in ids], pa.string())}
    )
    for name, values in columns.items():
        table = table.append_column(name, values)
    write_parquet(uri, table)
    return uri
