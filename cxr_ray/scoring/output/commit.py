"""Write rows to Parquet files, each committed in two phases by Ray Data's checkpoint writer."""

import time
from collections.abc import Iterable
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.data import DataContext
from ray.data._internal.datasource.parquet_datasink import ParquetDatasink
from ray.data._internal.execution.interfaces import TaskContext
from ray.data.block import Block, BlockAccessor
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_filter import IdColumnCheckpointManager

from cxr_ray.archive.uris import open_filesystem
from cxr_ray.archive.whole_files import whole_files
from cxr_ray.scoring.growing_pool import GrowingPool
from cxr_ray.scoring.lost_workers import MOST_RETRIES, TASK_OPTIONS
from cxr_ray.scoring.output.state import OutputState

WRITE_OPTIONS: dict[str, Any] = {"num_cpus": 0.1} | TASK_OPTIONS
"""Options of the tasks that write rows; Ray Data joins them with the tasks before them if their options are equal."""


class PlannedResume(IdColumnCheckpointManager):
    """A checkpoint manager that filters no rows, because the planned blocks already leave out the finished images.

    Ray's own filter reserves a CPU and 1 GiB for an actor during the whole job, so a cluster of 2 CPUs hangs, and it
    leaves blocks of only a few rows.
    """

    def load_checkpoint(self, *_: object, **__: object) -> tuple[None, int]:
        """Return no ids of finished rows, and their number 0."""
        return None, 0


class MeasuredParquet(ParquetDatasink):
    """Ray Data's writer of Parquet files, which tells a tally the seconds that each file takes.

    Args:
        folder: path of the folder of the files.
        tally: actor that is told.
        options: further options of Ray Data's writer.
    """

    def __init__(self, folder: str, *, tally: ActorHandle, **options: object) -> None:
        super().__init__(folder, **options)
        self._tally = tally

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> None:
        """Write blocks of rows as one file."""
        computed = list(blocks)
        began = time.monotonic()
        super().write(computed, ctx)
        written = sum(BlockAccessor.for_block(block).num_rows() for block in computed)
        self._tally.note_written.remote(written, time.monotonic() - began)


def write_committed(
    state: OutputState, rows: "ray.data.Dataset", tally: ActorHandle, growing: GrowingPool | None = None
) -> None:
    """Run the pipeline and write each block of `rows` as one Parquet file with a commit mark.

    Files are only added, which is Ray's default save mode: overwriting would lose the rows of earlier runs.

    Args:
        state: the output that the files go to.
        rows: the rows, not computed yet, with a column `image_id`.
        tally: actor that counts the rows of the run.
        growing: sizes the pool of actors while the pipeline runs; None leaves the size as it is.

    Raises:
        ClusterError: if the job has waited for too long for an actor.
    """
    fs, rows_path = open_filesystem(state.rows_uri)
    _, marks_path = open_filesystem(state.marks_uri)
    filesystem = whole_files(fs)
    context: DataContext = rows.context
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # a slow block is no failure; the progress says what it waits for
    context.max_consecutive_actor_init_deaths = MOST_RETRIES  # Ray's default ends the job when a starting actor is lost
    context.max_errored_blocks = 0  # a block that fails must fail the job, because skipping it would lose its rows
    context.checkpoint_config = CheckpointConfig(
        id_column="image_id",
        checkpoint_path=marks_path,
        override_filesystem=filesystem,
        delete_checkpoint_on_success=False,  # a second run would otherwise add every row again
        checkpoint_manager_cls=PlannedResume,
    )
    if growing is not None:
        growing.watch(context)
    sink = MeasuredParquet(rows_path, tally=tally, filesystem=filesystem, arrow_parquet_args={"compression": "zstd"})
    rows.write_datasink(sink, ray_remote_args=WRITE_OPTIONS)
