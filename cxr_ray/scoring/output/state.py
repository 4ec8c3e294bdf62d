"""What stands in an output: which blocks are committed, and what is left to do.

A block of rows counts from the moment that Ray Data's checkpoint writer has committed it (pending mark, data file,
committed mark). The rows themselves say which images are done; the marks only say which files are whole.
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

PENDING_SUFFIX = ".pending.parquet"  # as ray.data.checkpoint.checkpoint_writer names what it has not committed
PLAN_PREFIX = "remaining-"


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

    @property
    def owner_uri(self) -> str:
        """Who writes here at present; outside the folder that `--overwrite` clears."""
        return join_uri(self.uri, "_state", f"{self.table}.owner.json")

    def plan_uri(self, run_id: str) -> str:
        """What a run has to do. Its tasks read this while they run, so it belongs to one run alone."""
        return self.file_uri(f"{PLAN_PREFIX}{run_id}.parquet")

    def file_uri(self, name: str) -> str:
        """A working file of the job; tables that share an output keep theirs apart."""
        return join_uri(self.uri, "_state", self.table, name)


def settle(state: OutputState) -> None:
    """Delete every data file whose commit never came, every pending mark and every plan; to be called by the owner.

    Ray Data does this for files with a pending mark; here any file without a committed mark goes, because the workers
    of a killed driver may live a moment longer and write after the mark was cleaned away.
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
    """Names of the data files whose commit mark stands."""
    marks = {name for name in file_names(state.marks_uri) if not name.endswith(PENDING_SUFFIX)}
    return [name for name in file_names(state.rows_uri) if _mark_of(name) in marks]


def _mark_of(file_name: str) -> str:
    """Name of the mark by which a data file counts: a block has one mark, and may have several files."""
    return f"{file_name.removesuffix('.parquet').rpartition('-')[0]}.parquet"


def drop_error_rows(state: OutputState) -> int:
    """Take the rows with status `error` out of the committed files: their images are due again. Returns how many."""
    names = file_names(state.rows_uri)
    return sum(_keep_rows(state, name, lambda rows: pc.not_equal(rows["status"], "error")) for name in names)


def drop_repeated_rows(state: OutputState, ids: pa.Array) -> int:
    """Of images that stand more than once in `ids` keep the row that was committed first. Returns how many went.

    A killed run whose workers commit a last block while the next run is planned leaves such rows.
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
    """Names of the committed data files, the earliest first. Marks keep their time when a data file is rewritten."""
    unknown = datetime.min.replace(tzinfo=UTC)  # of storage that keeps no times
    times = {entry.name: entry.modified or unknown for entry in list_objects(state.marks_uri)}
    return sorted(committed_files(state), key=lambda name: (times.get(_mark_of(name), unknown), name))


def _keep_rows(state: OutputState, name: str, choose: Callable[[pa.Table], pa.Array]) -> int:
    """Rewrite one data file, in one step, with the rows that `choose` is true of; how many went."""
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
    """Clear up after earlier runs and write what is due to `blocks_uri`; images left, and images done before."""
    settle(state)
    if retry_errors:
        log.info("%s error rows are due again", f"{drop_error_rows(state):,}")
    done = finished_ids(state)
    if repeated := drop_repeated_rows(state, done):
        log.warning("%s rows of images that stood more than once were dropped", f"{repeated:,}")
        done = done.unique()
    return write_remaining(done, manifest_uri, blocks_uri, rows_per_block, carried), len(done)


def write_remaining(
    done: pa.Array, manifest_uri: str, target_uri: str, rows_per_block: int, carried: Sequence[str] = ()
) -> int:
    """Write the images of the manifest that are not `done` to `target_uri`, a row group for each block; how many.

    Raises:
        StorageError: if the manifest lacks one of the columns of strings that are to be carried along.
    """
    left = 0
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64())])
    for name in carried:
        schema = schema.append(pa.field(name, pa.string()))
    if missing := set(carried) - set(read_schema(manifest_uri).names):
        raise StorageError(
            f"{manifest_uri} has no column {', '.join(sorted(missing))}, which this job goes by; name a manifest with it"
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
    """image_id of every row that stands, large_string."""
    stands = bool(file_names(state.rows_uri))
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


def file_names(folder_uri: str) -> list[str]:
    """Names of the Parquet files in a folder, sorted; none if there is no folder."""
    fs, path = open_filesystem(folder_uri)
    if not fs.exists(path):
        return []
    names = (entry.rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False))
    return sorted(name for name in names if name.endswith(".parquet"))
