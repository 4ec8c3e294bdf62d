"""What stands in an output: which blocks are committed, by which model, and what is left to do.

A block of rows counts from the moment that Ray Data's checkpoint writer has committed it (pending mark, data file,
committed mark). The rows themselves say which images are done; the marks only say which files are whole.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxr_ray.archive.tables import iter_batches, table_writer
from cxr_ray.archive.uris import arrow_filesystem, exists, join_uri, open_filesystem, read_bytes, write_bytes
from cxr_ray.errors import ResumeError, StorageError

PENDING_SUFFIX = ".pending.parquet"  # as ray.data.checkpoint.checkpoint_writer names what it has not committed


@dataclass(frozen=True, slots=True)
class OutputState:
    """The places that belong to one output folder.

    Args:
        uri: the output folder.
        table: its folder of rows, `predictions` or `masks`.
    """

    uri: str
    table: str

    @property
    def rows_uri(self) -> str:
        """Folder of the rows."""
        return join_uri(self.uri, self.table)

    @property
    def marks_uri(self) -> str:
        """Folder of the commit marks."""
        return self.file_uri("checkpoint")

    @property
    def signature_uri(self) -> str:
        """What the rows were made with."""
        return self.file_uri("job.json")

    def file_uri(self, name: str) -> str:
        """A working file of the job; tables that share an output keep theirs apart."""
        return join_uri(self.uri, "_state", self.table, name)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSignature:
    """What must be equal for a run to continue an output."""

    input_uri: str
    model: str
    preprocessing: str


def claim_output(state: OutputState, signature: JobSignature, *, overwrite: bool) -> None:
    """Check that the output is free or holds work of the same job, and put the signature there: one read, one write.

    Raises:
        ResumeError: if it holds the work of another model, preprocessing or archive; both are named.
        StorageError: if it cannot be written.
    """
    if overwrite:
        remove_output(state)
    if exists(state.signature_uri):
        stored = _read_signature(state)
        for name, value in asdict(signature).items():
            if getattr(stored, name) != value:
                raise ResumeError(
                    f"{state.uri} holds rows of {name} {getattr(stored, name)}, this command has {name} {value}; "
                    "choose another --output-uri, or --overwrite to start over"
                )
        return
    if _file_names(state.rows_uri):
        raise ResumeError(
            f"{state.rows_uri} holds rows of an unknown job; choose another --output-uri, or --overwrite to start over"
        )
    write_bytes(state.signature_uri, json.dumps(asdict(signature), indent=2).encode())


def _read_signature(state: OutputState) -> JobSignature:
    try:
        return JobSignature(**json.loads(read_bytes(state.signature_uri)))
    except (ValueError, TypeError) as error:
        raise ResumeError(
            f"{state.signature_uri} is damaged or of another version; choose another --output-uri, "
            "or --overwrite to start over"
        ) from error


def remove_output(state: OutputState) -> None:
    """Delete what a job wrote into the output, and nothing else."""
    for uri in (state.rows_uri, state.file_uri("").rstrip("/"), join_uri(state.uri, "run.json")):
        fs, path = open_filesystem(uri)
        if fs.exists(path):
            fs.rm(path, recursive=True)


def settle(state: OutputState) -> None:
    """Delete every data file whose commit never came, and every pending mark.

    Ray Data does this for files with a pending mark; here any file without a committed mark goes, because the workers
    of a killed driver may live a moment longer and write after the mark was cleaned away.
    """
    marks = _file_names(state.marks_uri)
    committed = {name.removesuffix(".parquet") for name in marks if not name.endswith(PENDING_SUFFIX)}
    fs, rows_path = open_filesystem(state.rows_uri)
    for name in _file_names(state.rows_uri):
        if name.removesuffix(".parquet").rpartition("-")[0] not in committed:
            fs.rm_file(f"{rows_path}/{name}")
    _, marks_path = open_filesystem(state.marks_uri)
    for name in marks:
        if name.endswith(PENDING_SUFFIX):
            fs.rm_file(f"{marks_path}/{name}")


def drop_error_rows(state: OutputState) -> int:
    """Take the rows with status `error` out of the committed files: their images are due again. Returns how many."""
    dropped = 0
    fs, rows_path = open_filesystem(state.rows_uri)
    for name in _file_names(state.rows_uri):
        table = pq.read_table(f"{rows_path}/{name}", filesystem=arrow_filesystem(fs))
        kept = table.filter(pc.not_equal(table["status"], "error"))
        if kept.num_rows == table.num_rows:
            continue
        dropped += table.num_rows - kept.num_rows
        with table_writer(join_uri(state.rows_uri, name), kept.schema) as writer:
            writer.write_table(kept)
    return dropped


def write_remaining(state: OutputState, manifest_uri: str, target_uri: str, rows_per_block: int) -> tuple[int, int]:
    """Write the images of the manifest that have no row yet to `target_uri`, a row group for each block.

    Returns:
        Number of images left to do, and number of rows that stand already.
    """
    done = finished_ids(state)
    left = 0
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64())])
    pending = schema.empty_table()
    with table_writer(target_uri, schema) as writer:
        for batch in _manifest_batches(manifest_uri, schema):
            fresh = batch.filter(pc.invert(pc.is_in(batch["image_id"].cast(done.type), value_set=done)))
            left += fresh.num_rows
            pending = pa.concat_tables([pending, fresh])
            whole = pending.num_rows - pending.num_rows % rows_per_block
            if whole:
                writer.write_table(pending.slice(0, whole), row_group_size=rows_per_block)
            pending = pending.slice(whole)
        if pending.num_rows:
            writer.write_table(pending, row_group_size=rows_per_block)
    return left, len(done)


def _manifest_batches(manifest_uri: str, schema: pa.Schema) -> Iterator[pa.Table]:
    for batch in iter_batches(manifest_uri, batch_rows=1_000_000):
        table = pa.Table.from_batches([batch])
        if "size_bytes" not in table.column_names:
            table = table.append_column("size_bytes", pa.nulls(table.num_rows, pa.int64()))
        yield table.select(schema.names).cast(schema)


def finished_ids(state: OutputState) -> pa.Array:
    """image_id of every row that stands, large_string."""
    stands = bool(_file_names(state.rows_uri))
    return _ids(state.rows_uri).combine_chunks() if stands else pa.array([], pa.large_string())


def _ids(uri: str) -> pa.ChunkedArray:
    # plain strings end at 2 GiB, which some 30 million ids have together
    batches = iter_batches(uri, ["image_id"])
    return pa.chunked_array([batch["image_id"].cast(pa.large_string()) for batch in batches], pa.large_string())


def count_rows(state: OutputState) -> dict[str, int]:
    """Rows by status, and errors by `error:KIND`.

    Raises:
        StorageError: if there are no rows at all.
    """
    counts: dict[str, int] = {}
    for batch in iter_batches(state.rows_uri, ["status", "error_kind"]):
        grouped = pa.table(batch).group_by(["status", "error_kind"]).aggregate([([], "count_all")]).to_pylist()
        for row in grouped:
            counts[row["status"]] = counts.get(row["status"], 0) + row["count_all"]
            if row["error_kind"]:
                key = f"error:{row['error_kind']}"
                counts[key] = counts.get(key, 0) + row["count_all"]
    return counts


def check_unique(manifest_uri: str) -> None:
    """Refuse a manifest that names an image twice, of whose rows one would be lost, or names one not at all.

    Raises:
        StorageError: naming the first such image, or how many values are missing.
    """
    for batch in iter_batches(manifest_uri, ["image_id", "uri"]):
        if missing := batch["image_id"].null_count + batch["uri"].null_count:
            raise StorageError(f"manifest {manifest_uri} has {missing} empty image_id or uri; fill or drop those rows")
    ids = _ids(manifest_uri)
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    repeated = next(row["values"] for row in pc.value_counts(ids).to_pylist() if row["counts"] > 1)
    raise StorageError(
        f"manifest {manifest_uri} names image_id {repeated!r} more than once; an image_id must be unique"
    )


def _file_names(folder_uri: str) -> list[str]:
    fs, path = open_filesystem(folder_uri)
    if not fs.exists(path):
        return []
    names = (entry.rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False))
    return sorted(name for name in names if name.endswith(".parquet"))
