"""Read a planned list of images as a Ray Data source: each row group is one block, so blocks keep their planned size.

`ray.data.read_parquet` merges small files into one task, which would commit no row before the end of the job.
"""

from collections.abc import Callable, Iterator
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from cxr_ray.archive.uris import arrow_filesystem, open_filesystem


def default_block_rows(images: int, load_slots: int) -> int:
    """Default number of images of a block, which one task loads.

    It is a fiftieth of all `images`, but 64 or more and 8,192 or fewer; and fewer, but not fewer than 16, if each of the
    `load_slots` load tasks of the cluster would otherwise get less than four blocks.
    """
    fiftieth = min(8192, max(64, -(-images // 50)))
    return min(fiftieth, max(16, -(-images // (4 * load_slots))))


class PlannedBlocks(Datasource):
    """A Ray Data source that reads each row group of the Parquet file at `uri` by a task of its own."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri
        with _open(uri) as file:
            self._rows = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]

    @property
    def count(self) -> int:
        """Number of blocks, which is the number of row groups."""
        return len(self._rows)

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: Ray needs no estimate, because the number of blocks is given."""
        return None

    def get_read_tasks(
        self,
        parallelism: int,  # noqa: ARG002
        per_task_row_limit: int | None = None,  # noqa: ARG002
        data_context: object = None,  # noqa: ARG002
    ) -> list[ReadTask]:
        """Return one task per row group; the parallelism that Ray asks for is ignored."""
        return [
            ReadTask(
                _reader(self._uri, group),
                BlockMetadata(num_rows=rows, size_bytes=None, input_files=None, exec_stats=None),
            )
            for group, rows in enumerate(self._rows)
        ]


def _reader(uri: str, group: int) -> Callable[[], Iterator[pa.Table]]:
    return partial(_read_group, uri, group)


def _read_group(uri: str, group: int) -> Iterator[pa.Table]:
    with _open(uri) as file:
        yield file.read_row_group(group)


def _open(uri: str) -> pq.ParquetFile:
    fs, path = open_filesystem(uri)
    return pq.ParquetFile(path, filesystem=arrow_filesystem(fs))
