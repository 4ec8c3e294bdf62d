"""What each worker of a classifier training does."""

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import train

from cxr_ray.models.bundle import save_bundle
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.checkpointed_loop import FinishedEpoch, seed_of, train_epochs, training_figures, worker_context
from cxr_ray.training.classifier.class_balance import class_weights
from cxr_ray.training.classifier.learner import ClassifierLearner
from cxr_ray.training.classifier.task import ClassifierTask
from cxr_ray.training.classifier.validation import score_share, validation_of
from cxr_ray.training.classifier.views import TrainingViews, augmentation_of
from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.streamed_feed import StreamedFeed
from cxr_ray.training.worker_context import WorkerContext


def train_from_last_checkpoint(task: ClassifierTask) -> None:
    """Train until the epochs are done or the loss stands still; report a checkpoint after every epoch."""
    config, context = task.config, worker_context(task.threads)
    torch.manual_seed(config.seed)
    learner = ClassifierLearner(config, classes=len(task.labels), class_weights=_loss_weights(task), context=context)
    feeds = {split: _feed(task, split, context) for split in ("train", "val")}
    train_epochs(
        learner,
        partial(_run_epoch, task, learner, feeds),
        epochs=config.epochs,
        patience=config.early_stopping_patience,
        listener=task.listener,
    )


def _loss_weights(task: ClassifierTask) -> torch.Tensor:
    config, targets = task.config, task.targets["train"]
    power = config.balance_power if config.class_balance == "loss" else 0.0
    return torch.from_numpy(class_weights(targets, len(task.labels), power)).float()


def _feed(task: ClassifierTask, split: str, context: WorkerContext) -> CachedFeed | StreamedFeed:
    if task.cached is None:
        share = len(task.targets[split]) // context.world_size
        return StreamedFeed(train.get_dataset_shard(split), task.config.batch_size, share)
    return CachedFeed(PixelCache(ray.get(task.cached[split])), context, task.config.batch_size)


def _run_epoch(
    task: ClassifierTask, learner: ClassifierLearner, feeds: dict[str, Any], epoch: int
) -> FinishedEpoch | None:
    """Train and validate over all workers; None if the training has diverged.

    All randomness is drawn anew from the seed and the epoch, so that a training that starts again repeats it.
    """
    config, context, targets = task.config, learner.context, task.targets
    torch.manual_seed(seed_of(config.seed, epoch, context.rank))
    views = TrainingViews(
        to_input=learner.to_input,
        augmentation=augmentation_of(config),
        classes=len(task.labels),
        mixup=config.mixup,
        generator=torch.Generator().manual_seed(seed_of(config.seed, epoch, context.rank, 1)),
        shares=np.random.default_rng([config.seed, epoch, context.rank]),
    )
    steps = math.ceil(max(1, len(targets["train"]) // (config.batch_size * context.world_size)) / config.accumulate)
    began = time.monotonic()
    batches = feeds["train"].shuffled(seed_of(config.seed, epoch), _draw_weights(task))
    loss, seen = learner.train_epoch(
        (views(batch.pixels, targets["train"][batch.positions]) for batch in batches), epoch=epoch, steps=steps
    )
    seconds = time.monotonic() - began
    share = score_share(
        learner.optimization.averaged_model,
        feeds["val"].in_order(),
        targets["val"],
        to_input=learner.to_input,
        autocast=learner.autocast,
    )
    losses, counts, shares = zip(*context.gather((loss, seen, share)), strict=True)
    rate = learner.optimization.learning_rate
    metrics = training_figures(epoch, losses, counts, seconds=seconds, learning_rate=rate)
    if not (np.isfinite(metrics["train_loss"]) and all(np.isfinite(share.logits).all() for share in shares)):
        return None
    validation = validation_of(list(shares), targets["val"], task.labels)
    metrics |= validation.metrics
    learner.optimization.after_epoch(metrics["val_loss"])
    return FinishedEpoch(
        report=EpochReport(metrics=metrics, confusion=validation.confusion, mistakes=validation.mistakes),
        save_bundle=partial(_save_bundle, task, learner, metrics, validation.temperature),
    )


def _draw_weights(task: ClassifierTask) -> np.ndarray | None:
    if task.config.class_balance != "sampling":
        return None
    targets = task.targets["train"]
    return class_weights(targets, len(task.labels), task.config.balance_power)[targets]


def _save_bundle(
    task: ClassifierTask, learner: ClassifierLearner, metrics: dict[str, Any], temperature: float, path: Path
) -> None:
    save_bundle(
        str(path),
        learner.optimization.averaged_model.state_dict(),
        kind="classifier",
        backbone=task.config.backbone,
        labels=task.labels,
        image_size=task.config.image_size,
        dataset_fingerprint=task.dataset_fingerprint,
        temperature=temperature,
        metrics={name: value for name, value in metrics.items() if not np.isnan(value)},  # JSON knows no NaN
    )
