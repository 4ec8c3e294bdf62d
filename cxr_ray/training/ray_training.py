"""The driver's part of every training: claim the output, train on the workers, report epochs, publish the bundle."""

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

from cxr_ray.archive.kept_log import kept_log
from cxr_ray.archive.output_lock import OutputLock, output_lock
from cxr_ray.archive.run_record import RECORD_NAME, RunRecord, is_finished_record, new_run_id
from cxr_ray.archive.storage_check import check_storage
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import arrow_filesystem, join_uri, open_filesystem, write_bytes
from cxr_ray.cluster.job_metrics import record_epoch
from cxr_ray.cluster.session import ray_session
from cxr_ray.cluster.worker_lines import keep_worker_lines
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.config.terminal import print_line
from cxr_ray.config.training import TrainingJobConfig
from cxr_ray.errors import ClusterError, DatasetError, StorageError, TrainingError
from cxr_ray.models.allocator import KEEPING_FREED_MEMORY
from cxr_ray.models.bundle import CARD_NAME, Card, read_card
from cxr_ray.training.epoch_lines import LineMetrics, epoch_line, reported_epochs
from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.lost_workers import LostWorkers, loss_of
from cxr_ray.training.mlflow_run import MlflowRun, mlflow_run
from cxr_ray.training.seen_gpus import SeenGpus
from cxr_ray.training.streamed_feed import ShardedStreams
from cxr_ray.training.tensorboard_log import TensorBoardLog, import_drawing_libraries
from cxr_ray.training.training_output import RUN_NAME, TrainingOutput
from cxr_ray.training.training_state import BEST_NAME, read_state
from cxr_ray.training.training_task import TrainingTask
from cxr_ray.training.workers import await_workers, patience_for, scaling_of

log = logging.getLogger("cxr_ray")


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedTask:
    """A training task with the resources of its workers and, if images are streamed, their streams."""

    task: TrainingTask
    """The task that every worker receives."""
    scaling: ScalingConfig
    """Number and resources of the workers, see `scaling_of`."""
    streams: "dict[str, ray.data.Dataset] | None" = None
    """Stream of images by split; None if the task holds references to the decoded images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training(Generic[Card]):
    """Everything that `run_training` needs to know about one training."""

    config: TrainingJobConfig
    """Config of the job, whose output URI must be absolute."""
    task: str
    """What is trained: `classifier`, `clip` or `segmenter`."""
    epochs: int
    """Maximum number of epochs."""
    dataset_fingerprint: str
    """Fingerprint of the training data, which is part of the identity of the output."""
    card_type: type[Card]
    """Type of the bundle's card."""
    loop_per_worker: Callable[[dict[str, Any]], None]
    """Function that runs on each worker with the argument `{"task": task}`."""
    prepare: Callable[[ActorHandle], PreparedTask]
    """Function that makes the task once Ray is connected; its argument is the `EpochLog` that becomes the listener."""
    line_metrics: LineMetrics
    """Metrics that the line of an epoch shows."""
    summary: Callable[[Card, int], str]
    """Function of the card and the number of finished epochs that returns a text about the finished bundle."""
    labels: Sequence[str] = ()
    """Class names for TensorBoard; empty for models without classes."""


def run_training(training: Training[Card], show: Callable[[str], object] = print_line) -> Card:
    """Train, resuming from the last checkpoint in the output; write the bundle there, and return its card.

    Args:
        training: config and functions of the training.
        show: function that is called with a line for each epoch, and at the end with the summary.

    Raises:
        ClusterError: if the cluster cannot hold the workers, or no nodes come with room for them.
        ResumeError: if the output holds another training, or another run trains there.
        TrainingError: if the training diverges or its workers are lost too often.
    """
    config = training.config
    output = TrainingOutput(config.output_uri, WorkIdentity.of(config, dataset=training.dataset_fingerprint))
    check_storage(read=[], write=output.uri)
    run_id = new_run_id()
    with (
        output_lock(output, run_id) as lock,
        RunRecord(output.uri, config, is_owner=lambda: lock.lost is None, run_id=run_id) as record,
    ):
        if output.is_finished(overwrite=config.overwrite):
            output.delete_checkpoints()  # a run that was killed while it published leaves them
            card = read_card(config.output_uri, training.card_type)
            if not is_finished_record(join_uri(output.uri, RECORD_NAME)):
                record.finish(model_id=card.model_id, metrics=card.metrics)
            show(f"{card.model_id} in {config.output_uri} was trained by this command before; --overwrite starts over")
            return card
        with (
            kept_log(output.uri, run_id),
            mlflow_run(config, output, training.task) as tracked,
            ray_session(),
        ):
            record.renew()
            card, history = _trained(training, output, lock=lock, show=show, record=record, tracked=tracked)
            show(training.summary(card, len(history)))
            return card


def _trained(
    training: Training[Card],
    output: TrainingOutput,
    *,
    lock: OutputLock,
    show: Callable[[str], object],
    record: RunRecord,
    tracked: MlflowRun | None,
) -> tuple[Card, list[dict[str, Any]]]:
    """Train the epochs that are left, and publish the bundle; return its card and the metrics of every epoch."""
    config = training.config
    tags = {"run_id": record.facts["run_id"], "task": training.task}

    def report(metrics: dict[str, Any]) -> None:
        show(epoch_line(metrics, training.epochs, training.line_metrics))
        record_epoch(metrics, tags)
        record.renew(epoch=metrics["epoch"], epochs=training.epochs, loss=metrics["train_loss"])
        if tracked is not None:
            tracked.add(metrics)

    await_workers(scaling_of(config, streams_images=False)[0], config)  # loading needs nodes, too
    with epochs_reported(config.output_uri, training.labels, report) as listener:
        result = fit(training.loop_per_worker, training.prepare(listener), config=config, output=output)
    lock.check()
    return publish(output, result, training.card_type, record, tracked)


def check_full_batches(count: int, what: str, *, batch_size: int, workers: int) -> None:
    """Refuse a train split that does not give each worker a full batch.

    Args:
        count: number of images, or pairs, in the train split.
        what: noun for the images or pairs in the error.
        batch_size: images per batch of one worker.
        workers: maximum number of workers.

    Raises:
        DatasetError: if `count` is below `batch_size * workers`.
    """
    if count < batch_size * workers:
        raise DatasetError(
            f"{count} train {what} are too few for a --batch-size of {batch_size} on each of {workers} workers; "
            "lower --batch-size or --num-workers"
        )


def fit(
    loop: Callable[[dict[str, Any]], None],
    prepared: PreparedTask,
    *,
    config: TrainingJobConfig,
    output: TrainingOutput,
) -> Result:
    """Run `loop` on all workers, resuming from the last checkpoint in `output`.

    Args:
        loop: function that each worker calls with `{"task": task}`.
        prepared: the task, the resources of the workers, and the streams of images.
        config: its `max_failures` limits how often lost workers are replaced.
        output: the output folder, which holds the checkpoints.

    Raises:
        ClusterError: if no nodes come with room for the workers, at the start or after a loss, or a GPU is none for torch.
        TrainingError: if the training diverges or its workers are lost too often.
    """
    fs, state_path = open_filesystem(output.state_uri)
    lost_workers = LostWorkers(prepared.task.listener, patience_for(prepared.scaling, config))
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
            worker_runtime_env={"env_vars": {} if config.use_gpu else KEEPING_FREED_MEMORY},
            callbacks=[lost_workers, *([SeenGpus()] if config.use_gpu else [])],
        ),
    )
    # An autoscaler may have ended nodes that were idle while images were loaded.
    await_workers(prepared.scaling, config)
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        failure = error.controller_failure if isinstance(error, ray.train.ControllerError) else None
        if isinstance(failure, ClusterError):
            raise failure from error
        keep_worker_lines()
        raise TrainingError(
            f"training failed: {loss_of(error)}; the same command resumes after the last finished epoch"
        ) from error
    if epoch := ray.get(prepared.task.listener.diverged_in.remote()):
        raise TrainingError(
            f"the loss is not a finite number in epoch {epoch}; start over with --overwrite and a lower --learning-rate"
        )
    return result


@contextmanager
def epochs_reported(
    output_uri: str, labels: Sequence[str], show: Callable[[dict[str, Any]], object]
) -> Iterator[ActorHandle]:
    """Yield an `EpochLog`; until the block ends, each of its reports is shown and written to TensorBoard files.

    Args:
        output_uri: output of the training, in which the folder `tensorboard` is written.
        labels: class names for the confusion matrix; empty for models without classes.
        show: function that is called with the metrics of each epoch.
    """
    board: list[TensorBoardLog] = []

    def on_epoch(report: EpochReport | str) -> None:
        if isinstance(report, str):  # a line of `LostWorkers`
            log.warning(report)
            return
        show(report.metrics)
        try:
            if not board:
                uri = join_uri(output_uri, "tensorboard")
                board.append(TensorBoardLog(uri, labels, first_epoch=report.metrics["epoch"]))
            board[0].add(report)
        except StorageError as error:  # the next epoch writes the whole file again
            log.warning("TensorBoard files lack epoch %s until the next epoch ends: %s", report.metrics["epoch"], error)

    threading.Thread(target=import_drawing_libraries, daemon=True).start()
    try:
        with reported_epochs(on_epoch) as listener:
            yield listener
    finally:
        for opened in board:
            opened.close()


def publish(
    output: TrainingOutput, result: Result, card_type: type[Card], record: RunRecord, tracked: MlflowRun | None = None
) -> tuple[Card, list[dict[str, Any]]]:
    """Copy the best epoch's bundle to the output, its card last, and to MLflow; write history and record; delete checkpoints.

    Returns:
        The card of the bundle, and the metrics of every epoch.
    """
    with result.checkpoint.as_directory() as folder:
        progress, _ = read_state(Path(folder))
        write_table(pa.Table.from_pylist(progress.history), join_uri(output.uri, "history.parquet"))
        for file in sorted(Path(folder, BEST_NAME).iterdir(), key=lambda file: file.name == CARD_NAME):
            write_bytes(join_uri(output.uri, file.name), file.read_bytes())
        card = read_card(output.uri, card_type)
        if tracked is not None:
            tracked.add_bundle(Path(folder, BEST_NAME), card.model_id, output.uri)
    record.finish(model_id=card.model_id, metrics=card.metrics)
    output.delete_checkpoints()
    return card, progress.history
