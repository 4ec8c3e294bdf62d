"""What the driver of every training does: claim the output, fit on the workers, report epochs, publish the bundle."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.train import CheckpointConfig, FailureConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import arrow_filesystem, join_uri, open_filesystem, write_bytes
from cxr_ray.cluster.session import ray_session
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.config.training import TrainingJobConfig
from cxr_ray.errors import DatasetError, StorageError, TrainingError
from cxr_ray.models.allocator import KEEPING_FREED_MEMORY
from cxr_ray.models.bundle import CARD_NAME, Card, read_card
from cxr_ray.training.epoch_lines import LineMetrics, epoch_line, print_line, reported_epochs
from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.streamed_feed import ShardedStreams
from cxr_ray.training.tensorboard_log import TensorBoardLog, import_drawing
from cxr_ray.training.training_output import RUN_NAME, TrainingOutput
from cxr_ray.training.training_state import BEST_NAME, read_state
from cxr_ray.training.training_task import TrainingTask

log = logging.getLogger("cxr_ray")


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedTask:
    """A task whose images are loaded, or about to be streamed."""

    task: TrainingTask
    scaling: ScalingConfig
    """Number and resources of the workers, see `scaling_of`."""
    streams: "dict[str, ray.data.Dataset] | None" = None
    """Images of each split, where they are no part of the task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training(Generic[Card]):
    """What distinguishes one training from another on the driver."""

    config: TrainingJobConfig
    """Its output URI is absolute."""
    epochs: int
    """Epochs to run at most."""
    dataset_fingerprint: str
    """Identifies the data for the signature of the output."""
    card_type: type[Card]
    """Type of the card of the bundle."""
    loop_per_worker: Callable[[dict[str, Any]], None]
    """Runs on each worker; it gets `{"task": task}`."""
    prepare: Callable[[ActorHandle], PreparedTask]
    """Makes the task, with the listener that it gets, once a Ray cluster is there."""
    line_metrics: LineMetrics
    """Metrics in the line of an epoch."""
    summary: Callable[[Card, int], str]
    """Text about the finished bundle, made of its card and the number of epochs that ran."""
    labels: Sequence[str] = ()
    """Class names for TensorBoard."""


def run_training(training: Training[Card], show: Callable[[str], object] = print_line) -> Card:
    """Train from the last checkpoint in the output on, and write the bundle there; the card of the bundle.

    Args:
        training: what to train.
        show: called with a line for each epoch, and with the summary.

    Raises:
        ResumeError: if the output holds another training.
        TrainingError: if the training diverges or its workers are lost too often.
    """
    config = training.config
    output = TrainingOutput(config.output_uri, WorkIdentity.of(config, dataset=training.dataset_fingerprint))
    if output.is_finished(overwrite=config.overwrite):
        card = read_card(config.output_uri, training.card_type)
        show(f"{card.model_id} in {config.output_uri} was trained by this command before; --overwrite starts over")
        return card

    def show_epoch(metrics: dict[str, Any]) -> None:
        show(epoch_line(metrics, training.epochs, training.line_metrics))

    with ray_session():
        with epochs_reported(config.output_uri, training.labels, show_epoch) as listener:
            result = fit(training.loop_per_worker, training.prepare(listener), config=config, output=output)
        card, history = publish(config, output, result, training.card_type)
        show(training.summary(card, len(history)))
        return card


def check_full_batches(count: int, what: str, *, batch_size: int, workers: int) -> None:
    """Refuse a train split that does not give each worker a full batch.

    Args:
        count: images, or pairs, of the train split.
        what: what they are, for the error.
        batch_size: images of a batch of one worker.
        workers: number of workers at most.

    Raises:
        DatasetError: naming both numbers.
    """
    if count < batch_size * workers:
        raise DatasetError(
            f"{count} train {what} are too few for a --batch-size of {batch_size} on each of {workers} workers; "
            "lower one of them"
        )


def fit(
    loop: Callable[[dict[str, Any]], None],
    prepared: PreparedTask,
    *,
    config: TrainingJobConfig,
    output: TrainingOutput,
) -> Result:
    """Run `loop` on all workers, from the last checkpoint in `output` on.

    Args:
        loop: gets `{"task": task}`.
        prepared: task, workers and streams.
        config: names how many times lost workers are replaced.
        output: keeps the checkpoints.

    Raises:
        TrainingError: if the training diverges or its workers are lost too often.
    """
    fs, state_path = open_filesystem(output.state_uri)
    trainer = TorchTrainer(
        loop,
        train_loop_config={"task": prepared.task},
        scaling_config=prepared.scaling,
        datasets=prepared.streams,
        dataset_config=ShardedStreams(),
        run_config=RunConfig(
            name=RUN_NAME,
            storage_path=state_path,
            storage_filesystem=arrow_filesystem(fs),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=config.max_failures),
            worker_runtime_env={"env_vars": KEEPING_FREED_MEMORY},
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise TrainingError(
            f"training failed: {_cause(error)}; the same command resumes after the last finished epoch"
        ) from error
    if epoch := ray.get(prepared.task.listener.diverged_in.remote()):
        raise TrainingError(
            f"the loss is no finite number in epoch {epoch}; start over with --overwrite and a lower --learning-rate"
        )
    return result


def _cause(error: BaseException) -> str:
    """The last line of the error that a worker raised first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split("\n")[-1].split()) or type(error).__name__


@contextmanager
def epochs_reported(
    output_uri: str, labels: Sequence[str], show: Callable[[dict[str, Any]], object]
) -> Iterator[ActorHandle]:
    """An `EpochLog` whose reports are shown and become entries of TensorBoard, until the block ends.

    Args:
        output_uri: output of the training, which gets the folder of TensorBoard.
        labels: class names.
        show: called with the metrics of each epoch.
    """
    board: list[TensorBoardLog] = []

    def on_epoch(report: EpochReport) -> None:
        show(report.metrics)
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
    """Copy the best epoch's bundle to the output, its card last; write history and `run.json`; delete the checkpoints.

    Returns:
        The card, and the metrics of every epoch.
    """
    with result.checkpoint.as_directory() as folder:
        progress, _ = read_state(Path(folder))
        for file in sorted(Path(folder, BEST_NAME).iterdir(), key=lambda file: file.name == CARD_NAME):
            write_bytes(join_uri(output.uri, file.name), file.read_bytes())
    write_table(pa.Table.from_pylist(progress.history), join_uri(output.uri, "history.parquet"))
    card = read_card(output.uri, card_type)
    write_run_record(output.uri, config, model_id=card.model_id, metrics=card.metrics)
    output.conclude()
    return card, progress.history
