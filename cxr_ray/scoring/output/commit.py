"""Write rows to Parquet files, each committed in two phases by Ray Data's checkpoint writer."""

import ray
from ray.data import DataContext
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_filter import IdColumnCheckpointManager

from cxr_ray.archive.uris import open_filesystem
from cxr_ray.archive.whole_files import whole_files
from cxr_ray.scoring.growing_pool import GrowingPool
from cxr_ray.scoring.lost_workers import MOST_RETRIES, TASK_OPTIONS
from cxr_ray.scoring.output.state import OutputState


class PlannedResume(IdColumnCheckpointManager):
    """A checkpoint manager that filters no rows, because the planned blocks already leave out the finished images.

    Ray's own filter reserves a CPU and 1 GiB for an actor during the whole job, so a cluster of 2 CPUs hangs, and it
    leaves blocks of only a few rows.
    """

    def load_checkpoint(self, *_: object, **__: object) -> tuple[None, int]:
        """Return no ids of finished rows, and their number 0."""
        return None, 0


def write_committed(state: OutputState, rows: "ray.data.Dataset", growing: GrowingPool | None = None) -> None:
    """Run the pipeline and write each block of `rows` as one Parquet file with a commit mark.

    Files are only added, which is Ray's default save mode: overwriting would lose the rows of earlier runs.

    Args:
        state: the output that the files go to.
        rows: the rows, not computed yet, with a column `image_id`.
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
    rows.write_parquet(
        rows_path, filesystem=filesystem, compression="zstd", ray_remote_args={"num_cpus": 0.1} | TASK_OPTIONS
    )
