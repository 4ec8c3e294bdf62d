"""The state of an output: which blocks of rows are committed, and what rows they hold.

A block of rows counts once Ray Data's checkpoint writer has committed it: it writes a pending mark, the data file and
the committed mark. The rows show which images are finished; the marks only show which files are complete.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxr_ray.archive.listing import list_objects
from cxr_ray.archive.run_record import RECORD_NAME
from cxr_ray.archive.tables import SHARD_PREFIX, iter_files, table_writer
from cxr_ray.archive.uris import arrow_filesystem, join_uri, named_failures, open_filesystem
from cxr_ray.archive.whole_files import PART_SUFFIX

PENDING_SUFFIX = ".pending.parquet"  # name that ray.data.checkpoint.checkpoint_writer gives to pending marks
PLAN_PREFIX = "remaining-"


@dataclass(frozen=True, slots=True)
class OutputState:
    """The URIs of the files and folders that belong to one table of an output folder.

    Args:
        uri: URI of the output folder.
        table: name of the folder of rows in it: `predictions`, `embeddings`, `masks` or `scores`.
        shard: which shard of the images the rows are of, such as `3/16`; None for all images. Each shard of a table has its
            own rows, working files, owner and record in the same output folder.
    """

    uri: str
    table: str
    shard: str | None = None

    @property
    def shard_folder(self) -> str:
        """Name of the folder of the shard within the folders of its table, such as `shard-3-of-16`; empty without a shard."""
        return f"{SHARD_PREFIX}{self.shard.replace('/', '-of-')}" if self.shard else ""

    @property
    def rows_uri(self) -> str:
        """URI of the folder of the rows."""
        return join_uri(self.uri, self.table, *filter(None, [self.shard_folder]))

    @property
    def record_folder_uri(self) -> str:
        """URI of the folder of the record of the last run: the output, or the working files of a shard."""
        return self.file_uri("").rstrip("/") if self.shard else self.uri

    @property
    def record_uri(self) -> str:
        """URI of the record of the last run."""
        return join_uri(self.record_folder_uri, RECORD_NAME)

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
        name = ".".join(filter(None, [self.table, self.shard_folder, "owner.json"]))
        return join_uri(self.uri, "_state", name)

    def plan_uri(self, run_id: str) -> str:
        """URI of the plan of one run: the images that it scores. Its tasks read the plan while they run."""
        return self.file_uri(f"{PLAN_PREFIX}{run_id}.parquet")

    def file_uri(self, name: str) -> str:
        """URI of a working file of the job; each table of an output, and each shard, has its own folder of working files."""
        return join_uri(self.uri, "_state", self.table, *filter(None, [self.shard_folder]), name)


def settle(state: OutputState) -> None:
    """Delete every data file that is not committed, every pending mark and every plan.

    Only the run that holds the output may call this. Ray Data deletes only data files that have a pending mark; this
    function deletes every file without a committed mark, because workers of a killed driver may still write for a
    moment, after their pending mark was deleted.

    Raises:
        StorageError: if a file cannot be deleted or a folder cannot be listed.
    """
    committed = set(committed_files(state))
    _delete_files(state.rows_uri, lambda name: name not in committed)
    _delete_files(state.marks_uri, lambda name: name.endswith(PENDING_SUFFIX))
    _delete_files(state.file_uri("").rstrip("/"), lambda name: name.startswith(PLAN_PREFIX))


def _delete_files(folder_uri: str, is_due: Callable[[str], bool]) -> None:
    """Delete the Parquet files of a folder that are due, and what killed writers left of any file."""
    fs, folder = open_filesystem(folder_uri)
    for name in file_names(folder_uri, ending=(".parquet", PART_SUFFIX)):
        if name.endswith(PART_SUFFIX) or is_due(name):
            with named_failures("delete", join_uri(folder_uri, name)), suppress(FileNotFoundError):
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


def drop_repeated_rows(state: OutputState, repeated: Sequence[str]) -> int:
    """Keep, of each image with several rows, only the row that was committed first.

    Such rows occur when the workers of a killed run commit a last block while the next run is planned.

    Args:
        state: the output.
        repeated: ids of the images that have several rows.

    Returns:
        The number of rows that were deleted.
    """
    if not repeated:
        return 0
    suspects = pa.array(repeated, pa.large_string())
    seen: set[str] = set()

    def is_first(rows: pa.Table) -> pa.Array:
        ids = rows["image_id"].cast(suspects.type)
        mask = np.ones(rows.num_rows, bool)
        for row in np.flatnonzero(pc.is_in(ids, value_set=suspects)):
            image_id = ids[row].as_py()
            mask[row] = image_id not in seen
            seen.add(image_id)
        return pa.array(mask)

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


def finished_ids(state: OutputState) -> Iterator[pa.Array]:
    """Yield the `image_id` of every row of an output, file by file."""
    if file_names(state.rows_uri):
        for table in iter_files(state.rows_uri, ["image_id"]):
            yield from table["image_id"].chunks


def file_names(folder_uri: str, *, ending: str | tuple[str, ...] = ".parquet") -> list[str]:
    """Names of the Parquet files in a folder, or of files with another `ending`, sorted; none if there is no folder.

    Raises:
        StorageError: if the folder cannot be listed.
    """
    fs, path = open_filesystem(folder_uri)
    with named_failures("list", folder_uri):
        entries = fs.ls(path, detail=False) if fs.exists(path) else []
    names = (entry.rstrip("/").rpartition("/")[2] for entry in entries)
    return sorted(name for name in names if name.endswith(ending))
