"""The training loop of a classifier, which runs on each worker."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import ray
from ray import train

from cxr_ray.models.bundle import save_bundle
from cxr_ray.training.ahead import ahead
from cxr_ray.training.cached_feed import CachedFeed, PixelCache, batches_per_epoch
from cxr_ray.training.checkpointed_loop import FinishedEpoch, start_worker, train_and_validate, train_epochs
from cxr_ray.training.classifier.learner import ClassifierLearner
from cxr_ray.training.classifier.task import ClassifierTask
from cxr_ray.training.classifier.validation import score_shard
from cxr_ray.training.classifier.views import TrainingViews, augmentation_of
from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.seeds import seed_epoch, seed_of
from cxr_ray.training.streamed_feed import StreamedFeed
from cxr_ray.training.worker_context import WorkerContext

Feeds = Mapping[str, CachedFeed | StreamedFeed]


def train_from_last_checkpoint(task: ClassifierTask) -> None:
    """Train from the last checkpoint until all epochs are finished or the validation loss no longer falls."""
    context = start_worker(task)
    learner = ClassifierLearner(
        task.config,
        classes=len(task.objective.labels),
        class_weights=task.objective.loss_weights(task.targets["train"]),
        context=context,
        labels=task.objective.labels,
        loss=task.objective.loss,
    )
    feeds = {split: _feed(task, split, context) for split in ("train", "val")}
    train_epochs(
        learner,
        partial(run_epoch, task, learner, feeds),
        epochs=task.config.epochs,
        listener=task.listener,
        patience=task.config.early_stopping_patience,
        best_by=f"val_{task.config.chosen_best_by}",
        stop_by=f"val_{task.config.stop_by}",
    )


def _feed(task: ClassifierTask, split: str, context: WorkerContext) -> CachedFeed | StreamedFeed:
    if task.cached is None:
        shard_size = len(task.targets[split]) // context.world_size
        return StreamedFeed(train.get_dataset_shard(split), task.config.batch_size, shard_size)
    return CachedFeed(PixelCache(ray.get(task.cached[split])), context, task.config.batch_size)


def run_epoch(task: ClassifierTask, learner: ClassifierLearner, feeds: Feeds, epoch: int) -> FinishedEpoch | None:
    """Train and validate epoch `epoch` (the first is 1) on this worker; return None if the training has diverged."""
    config, context, targets = task.config, learner.context, task.targets
    views = TrainingViews(
        to_input=learner.to_input,
        augmentation=augmentation_of(config),
        classes=len(task.objective.labels),
        mixup=config.mixup,
        generator=seed_epoch(config.seed, epoch, context.rank),
        mixup_generator=np.random.default_rng([config.seed, epoch, context.rank]),
        truth_of=task.objective.truth_of,
    )
    draw_weights = task.objective.draw_weights(targets["train"])
    batches = ahead(feeds["train"].shuffled(seed_of(config.seed, epoch), draw_weights), context.device)
    count = batches_per_epoch(len(targets["train"]), batch_size=config.batch_size, world_size=context.world_size)
    metrics, shards = train_and_validate(
        learner,
        (views(batch.pixels, targets["train"][batch.positions]) for batch in batches),
        partial(
            score_shard,
            learner.optimization.averaged_model,
            feeds["val"].in_order(),
            targets["val"],
            to_input=learner.to_input,
            autocast=learner.autocast,
            mistakes_in=task.objective.mistakes,
        ),
        epoch=epoch,
        steps=math.ceil(count / config.accumulate),
    )
    if not (np.isfinite(metrics["train_loss"]) and all(np.isfinite(shard.logits).all() for shard in shards)):
        return None
    validation = task.objective.validation(shards, targets["val"])
    metrics |= validation.metrics
    learner.optimization.after_epoch(metrics["val_loss"])
    return FinishedEpoch(
        report=EpochReport(metrics=metrics, confusion=validation.confusion, mistakes=validation.mistakes),
        save_bundle=partial(_save_bundle, task, learner, validation.card),
    )


def _save_bundle(
    task: ClassifierTask, learner: ClassifierLearner, calibration: dict[str, Any], path: str, metrics: dict[str, Any]
) -> None:
    save_bundle(
        path,
        learner.optimization.averaged_model.state_dict(),
        task.objective.card_type,
        backbone=task.config.backbone,
        labels=task.objective.labels,
        image_size=task.config.image_size,
        mean=learner.normalisation.mean,
        std=learner.normalisation.std,
        dataset_fingerprint=task.dataset_fingerprint,
        **calibration,
        metrics=metrics,
    )
