"""The state of an output: which blocks of rows are committed, and which images are left to score.

A block of rows counts once Ray Data's checkpoint writer has committed it: it writes a pending mark, the data file and
the committed mark. The rows show which images are finished; the marks only show which files are complete.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxr_ray.archive.listing import list_objects
from cxr_ray.archive.tables import iter_batches, read_schema, table_writer
from cxr_ray.archive.uris import arrow_filesystem, join_uri, open_filesystem
from cxr_ray.errors import StorageError

log = logging.getLogger("cxr_ray")

PENDING_SUFFIX = ".pending.parquet"  # name that ray.data.checkpoint.checkpoint_writer gives to pending marks
PLAN_PREFIX = "remaining-"


@dataclass(frozen=True, slots=True)
class OutputState:
    """The URIs of the files and folders that belong to one table of an output folder.

    Args:
        uri: URI of the output folder.
        table: name of the folder of rows in it: `predictions`, `masks` or `scores`.
    """

    uri: str
    table: str

    @property
    def rows_uri(self) -> str:
        """URI of the folder of the rows."""
        return join_uri(self.uri, self.table)

    @property
    def marks_uri(self) -> str:
        """URI of the folder of the commit marks."""
        return self.file_uri("checkpoint")

    @property
    def signature_uri(self) -> str:
        """URI of the JSON file with the identity of the work that made the rows."""
        return self.file_uri("job.json")

    @property
    def owner_uri(self) -> str:
        """URI of the file that names the run that writes to the output; `--overwrite` does not delete it."""
        return join_uri(self.uri, "_state", f"{self.table}.owner.json")

    def plan_uri(self, run_id: str) -> str:
        """URI of the plan of one run: the images that it scores. Its tasks read the plan while they run."""
        return self.file_uri(f"{PLAN_PREFIX}{run_id}.parquet")

    def file_uri(self, name: str) -> str:
        """URI of a working file of the job; each table of an output has its own folder of working files."""
        return join_uri(self.uri, "_state", self.table, name)


def settle(state: OutputState) -> None:
    """Delete every data file that is not committed, every pending mark and every plan.

    Only the run that holds the output may call this. Ray Data deletes only data files that have a pending mark; this
    function deletes every file without a committed mark, because workers of a killed driver may still write for a
    moment, after their pending mark was deleted.
    """
    committed = set(committed_files(state))
    _delete_files(state.rows_uri, lambda name: name not in committed)
    _delete_files(state.marks_uri, lambda name: name.endswith(PENDING_SUFFIX))
    _delete_files(state.file_uri("").rstrip("/"), lambda name: name.startswith(PLAN_PREFIX))


def _delete_files(folder_uri: str, is_due: Callable[[str], bool]) -> None:
    fs, folder = open_filesystem(folder_uri)
    for name in file_names(folder_uri):
        if is_due(name):
            fs.rm_file(f"{folder}/{name}")


def committed_files(state: OutputState) -> list[str]:
    """Names of the data files that have a committed mark, sorted."""
    marks = {name for name in file_names(state.marks_uri) if not name.endswith(PENDING_SUFFIX)}
    return [name for name in file_names(state.rows_uri) if _mark_of(name) in marks]


def _mark_of(file_name: str) -> str:
    """Name of the committed mark of a data file; all files of a block have the same mark."""
    return f"{file_name.removesuffix('.parquet').rpartition('-')[0]}.parquet"


def drop_error_rows(state: OutputState) -> int:
    """Delete the rows with status `error`, so that their images are scored again.

    Returns:
        The number of rows that were deleted.
    """
    names = file_names(state.rows_uri)
    return sum(_keep_rows(state, name, lambda rows: pc.not_equal(rows["status"], "error")) for name in names)


def drop_repeated_rows(state: OutputState, ids: pa.Array) -> int:
    """Keep, of each image with several rows, only the row that was committed first.

    Such rows occur when the workers of a killed run commit a last block while the next run is planned.

    Args:
        state: the output.
        ids: `image_id` of every row of the output, a string array.

    Returns:
        The number of rows that were deleted.
    """
    if pc.count_distinct(ids).as_py() == len(ids):
        return 0
    counts = ids.value_counts()
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    seen: set[str] = set()

    def is_first(rows: pa.Table) -> pa.Array:
        column = rows["image_id"]
        suspects = pc.is_in(column.cast(repeated.type), value_set=repeated).to_pylist()
        mask = []
        for image_id, is_suspect in zip(column.to_pylist(), suspects, strict=True):
            mask.append(image_id not in seen)
            if is_suspect:
                seen.add(image_id)
        return pa.array(mask, pa.bool_())

    return sum(_keep_rows(state, name, is_first) for name in _files_by_commit(state))


def _files_by_commit(state: OutputState) -> list[str]:
    """Names of the committed data files in the order of their marks' times, which a rewrite of a data file keeps."""
    unknown = datetime.min.replace(tzinfo=UTC)  # for storage that keeps no times
    times = {entry.name: entry.modified or unknown for entry in list_objects(state.marks_uri)}
    return sorted(committed_files(state), key=lambda name: (times.get(_mark_of(name), unknown), name))


def _keep_rows(state: OutputState, name: str, choose: Callable[[pa.Table], pa.Array]) -> int:
    """Replace a data file, in one step, by its rows for which `choose` is true; return how many rows were deleted."""
    fs, rows_path = open_filesystem(state.rows_uri)
    table = pq.read_table(f"{rows_path}/{name}", filesystem=arrow_filesystem(fs))
    kept = table.filter(choose(table))
    if kept.num_rows < table.num_rows:
        with table_writer(join_uri(state.rows_uri, name), kept.schema) as writer:
            writer.write_table(kept)
    return int(table.num_rows - kept.num_rows)


def plan_blocks(
    state: OutputState,
    manifest_uri: str,
    blocks_uri: str,
    *,
    rows_per_block: int,
    retry_errors: bool,
    carried: Sequence[str] = (),
) -> tuple[int, int]:
    """Clean up after earlier runs, and write the images that are left to score to the Parquet file `blocks_uri`.

    Args:
        state: the output.
        manifest_uri: URI of the manifest of all images.
        blocks_uri: URI of the Parquet file to write, with one row group per block.
        rows_per_block: number of images of a block, 1 or more.
        retry_errors: True deletes the error rows first, so that their images are scored again.
        carried: names of string columns of the manifest that the blocks keep.

    Returns:
        The number of images that are left to score, and the number of images that have a row already.

    Raises:
        StorageError: if the manifest lacks one of the columns `carried`, or storage fails.
    """
    settle(state)
    if retry_errors:
        log.info("%s error rows were deleted; their images are scored again", f"{drop_error_rows(state):,}")
    done = finished_ids(state)
    if repeated := drop_repeated_rows(state, done):
        log.warning("%s rows were deleted because their images had several rows", f"{repeated:,}")
        done = done.unique()
    return write_remaining(done, manifest_uri, blocks_uri, rows_per_block, carried), len(done)


def write_remaining(
    done: pa.Array, manifest_uri: str, target_uri: str, rows_per_block: int, carried: Sequence[str] = ()
) -> int:
    """Write the images of a manifest that have no row yet to a Parquet file with one row group per block.

    Args:
        done: `image_id` of the images that have a row, a string array.
        manifest_uri: URI of the manifest.
        target_uri: URI of the Parquet file to write.
        rows_per_block: number of images of a block, 1 or more.
        carried: names of string columns of the manifest that the file keeps.

    Returns:
        The number of images that were written.

    Raises:
        StorageError: if the manifest lacks one of the columns `carried`.
    """
    left = 0
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64())])
    for name in carried:
        schema = schema.append(pa.field(name, pa.string()))
    if missing := set(carried) - set(read_schema(manifest_uri).names):
        raise StorageError(
            f"{manifest_uri} has no column {', '.join(sorted(missing))}, which this job needs; "
            "use a manifest that has it"
        )
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
    return left


def _manifest_batches(manifest_uri: str, schema: pa.Schema) -> Iterator[pa.Table]:
    for batch in iter_batches(manifest_uri, batch_rows=1_000_000):
        table = pa.Table.from_batches([batch])
        if "size_bytes" not in table.column_names:
            table = table.append_column("size_bytes", pa.nulls(table.num_rows, pa.int64()))
        yield table.select(schema.names).cast(schema)


def finished_ids(state: OutputState) -> pa.Array:
    """Return the `image_id` of every row of an output, a large_string array."""
    has_rows = bool(file_names(state.rows_uri))
    return _ids(state.rows_uri).combine_chunks() if has_rows else pa.array([], pa.large_string())


def _ids(uri: str) -> pa.ChunkedArray:
    # an array of plain strings holds at most 2 GiB, which about 30 million ids exceed
    batches = iter_batches(uri, ["image_id"])
    return pa.chunked_array([batch["image_id"].cast(pa.large_string()) for batch in batches], pa.large_string())


def count_rows(state: OutputState) -> dict[str, int]:
    """Count the rows of an output by status, and its error rows also by kind under keys `error:KIND`.

    Raises:
        StorageError: if the output has no rows.
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
    """Refuse a manifest in which an `image_id` occurs twice, or an `image_id` or `uri` is empty.

    Of two images with the same `image_id`, one would get no row.

    Raises:
        StorageError: if an `image_id` occurs twice, or values are empty; the message names the id or counts the values.
    """
    for batch in iter_batches(manifest_uri, ["image_id", "uri"]):
        if missing := batch["image_id"].null_count + batch["uri"].null_count:
            raise StorageError(f"manifest {manifest_uri} has {missing} empty image_id or uri; fill or drop those rows")
    ids = _ids(manifest_uri)
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    repeated = next(row["values"] for row in pc.value_counts(ids).to_pylist() if row["counts"] > 1)
    raise StorageError(
        f"manifest {manifest_uri} names image_id {repeated!r} more than once; make every image_id unique"
    )


def file_names(folder_uri: str) -> list[str]:
    """Names of the Parquet files in a folder, sorted; an empty list if the folder does not exist."""
    fs, path = open_filesystem(folder_uri)
    if not fs.exists(path):
        return []
    names = (entry.rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False))
    return sorted(name for name in names if name.endswith(".parquet"))
