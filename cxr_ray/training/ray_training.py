"""What every training through Ray Train does on the driver: fit, tell of epochs as they end, take what came out."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.train import CheckpointConfig, FailureConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import arrow_filesystem, join_uri, open_filesystem, write_bytes
from cxr_ray.config.training import TrainingJobConfig
from cxr_ray.errors import StorageError, TrainingError
from cxr_ray.models.allocator import KEEPING_FREED_MEMORY
from cxr_ray.models.bundle import CARD_NAME, Card, read_card
from cxr_ray.training.epoch_lines import reported_epochs
from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.streamed_feed import SharedOut
from cxr_ray.training.tensorboard_log import TensorBoardLog, import_drawing
from cxr_ray.training.training_output import RUN_NAME, TrainingOutput
from cxr_ray.training.training_state import BEST_NAME, read_state

log = logging.getLogger("cxr_ray")


def fit(
    loop: Callable[[dict[str, Any]], None],
    task: Any,
    *,
    output: TrainingOutput,
    scaling: ScalingConfig,
    max_failures: int,
    streams: "dict[str, ray.data.Dataset] | None" = None,
) -> Result:
    """Run `loop` on all workers, from the last checkpoint in `output` on.

    Args:
        loop: given `{"task": task}`.
        task: has the `listener` of `epochs_reported`.
        output: keeps the checkpoints.
        scaling: of `scaling_of`.
        max_failures: times that lost workers are replaced.
        streams: images by split, where they are no part of the task.

    Raises:
        TrainingError: if the training diverges or its workers are lost too often.
    """
    fs, state_path = open_filesystem(output.state_uri)
    trainer = TorchTrainer(
        loop,
        train_loop_config={"task": task},
        scaling_config=scaling,
        datasets=streams,
        dataset_config=SharedOut(),
        run_config=RunConfig(
            name=RUN_NAME,
            storage_path=state_path,
            storage_filesystem=arrow_filesystem(fs),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=max_failures),
            worker_runtime_env={"env_vars": KEEPING_FREED_MEMORY},
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise TrainingError(
            f"training failed: {_cause(error)}; the same command goes on from the last epoch"
        ) from error
    if epoch := ray.get(task.listener.diverged_in.remote()):
        raise TrainingError(
            f"the loss is no finite number in epoch {epoch}; start over with --overwrite and a lower --learning-rate"
        )
    return result


def _cause(error: BaseException) -> str:
    """The worker's own words, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split("\n")[-1].split()) or type(error).__name__


@contextmanager
def epochs_reported(
    output_uri: str, labels: Sequence[str], tell: Callable[[dict[str, Any]], object]
) -> Iterator[ActorHandle]:
    """An actor whose reports become entries of TensorBoard, and are told of.

    Args:
        output_uri: folder that holds that of TensorBoard.
        labels: class names.
        tell: called with the metrics of each epoch.
    """
    board: list[TensorBoardLog] = []

    def on_epoch(report: EpochReport) -> None:
        tell(report.metrics)
        try:
            if not board:
                uri = join_uri(output_uri, "tensorboard")
                board.append(TensorBoardLog(uri, labels, first_epoch=report.metrics["epoch"]))
            board[0].add(report)
        except StorageError as error:  # the next epoch writes the whole file again
            log.warning("TensorBoard lacks epoch %s for now: %s", report.metrics["epoch"], error)

    threading.Thread(target=import_drawing, daemon=True).start()
    with reported_epochs(on_epoch) as listener:
        yield listener
    for opened in board:
        opened.close()


def publish(
    config: TrainingJobConfig, output: TrainingOutput, result: Result, card_type: type[Card]
) -> tuple[Card, list[dict[str, Any]]]:
    """Copy the best epoch's bundle to the output, its card last, with history and `run.json`; the card, the history."""
    with result.checkpoint.as_directory() as folder:
        progress, _ = read_state(Path(folder))
        for file in sorted(Path(folder, BEST_NAME).iterdir(), key=lambda file: file.name == CARD_NAME):
            write_bytes(join_uri(output.uri, file.name), file.read_bytes())
    write_table(pa.Table.from_pylist(progress.history), join_uri(output.uri, "history.parquet"))
    card = read_card(output.uri, card_type)
    write_run_record(output.uri, config, model_id=card.model_id, metrics=card.metrics)
    output.conclude()
    return card, progress.history
