"""Rows into Parquet files, each committed in two phases by Ray Data's checkpoint writer."""

import ray
from ray.data import DataContext
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_filter import IdColumnCheckpointManager

from cxr_ray.archive.uris import arrow_filesystem, open_filesystem
from cxr_ray.scoring.output.state import OutputState


class PlannedResume(IdColumnCheckpointManager):
    """Adds no filter to the plan: what is done was left out when the blocks were planned.

    Ray's own filter holds an actor with a CPU and 1 GiB for the whole job, on which a cluster of 2 CPUs hangs, and
    leaves blocks of a few rows behind.
    """

    def load_checkpoint(self, *_: object, **__: object) -> tuple[None, int]:
        """Nothing to filter by."""
        return None, 0


def write_committed(state: OutputState, rows: "ray.data.Dataset") -> None:
    """Run the pipeline: every block of `rows` becomes one Parquet file of `state` with its commit mark.

    Files are only ever added (Ray's default save mode): overwriting would lose the rows of earlier runs.
    """
    fs, rows_path = open_filesystem(state.rows_uri)
    _, marks_path = open_filesystem(state.marks_uri)
    filesystem = arrow_filesystem(fs)
    context: DataContext = rows.context
    context.enable_progress_bars = False
    context.max_errored_blocks = 0  # a block that fails must fail the job: skipping it would lose its rows
    context.checkpoint_config = CheckpointConfig(
        id_column="image_id",
        checkpoint_path=marks_path,
        override_filesystem=filesystem,
        delete_checkpoint_on_success=False,  # or a second run would add every row again
        checkpoint_manager_cls=PlannedResume,
    )
    rows.write_parquet(rows_path, filesystem=filesystem, compression="zstd", ray_remote_args={"num_cpus": 0.1})
