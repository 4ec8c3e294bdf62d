"""The training loop of a CLIP fine-tuning, which runs on each worker."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import ray

from cxr_ray.models.biomedclip_checkpoint import load_biomedclip, load_tokenizer
from cxr_ray.models.clip_card import save_clip_bundle
from cxr_ray.training.ahead import ahead
from cxr_ray.training.augmentation import RandomResizedCrop
from cxr_ray.training.cached_feed import CachedFeed, PixelCache, batches_per_epoch
from cxr_ray.training.checkpointed_loop import FinishedEpoch, start_worker, train_and_validate, train_epochs
from cxr_ray.training.clip.learner import ClipLearner
from cxr_ray.training.clip.task import ClipTask
from cxr_ray.training.clip.token_table import TokenTable
from cxr_ray.training.clip.validation import class_features, encode_shard, validation_metrics
from cxr_ray.training.clip.views import PairViews
from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.seeds import seed_epoch, seed_of


def finetune_from_last_checkpoint(task: ClipTask) -> None:
    """Train from the last checkpoint until all epochs are finished; report a checkpoint after each epoch."""
    config, context = task.config, start_worker(task)
    learner = ClipLearner(config, load_biomedclip(config.weights_uri), context=context)
    parts, tokens = ray.get(task.pixels), ray.get(task.tokens)
    feeds = {
        split: CachedFeed(PixelCache(parts, pairs.pixels), context, config.batch_size)
        for split, pairs in task.pairs.items()
    }
    epoch_of = partial(run_epoch, task, learner, feeds, tokens)
    train_epochs(learner, epoch_of, epochs=config.epochs, listener=task.listener, best_by="val_recall_at_1")


def run_epoch(
    task: ClipTask, learner: ClipLearner, feeds: Mapping[str, CachedFeed], tokens: TokenTable, epoch: int
) -> FinishedEpoch | None:
    """Train and validate epoch `epoch` (the first is 1) on this worker; return None if the training has diverged."""
    config, context, pairs = task.config, learner.context, task.pairs
    views = PairViews(
        to_input=learner.to_input,
        pairs=pairs["train"],
        tokens=tokens,
        crop=RandomResizedCrop(scale=config.crop_scale),
        generator=seed_epoch(config.seed, epoch, context.rank),
    )
    val_views = PairViews(to_input=learner.to_input, pairs=pairs["val"], tokens=tokens)
    metrics, shards = train_and_validate(
        learner,
        views(ahead(feeds["train"].shuffled(seed_of(config.seed, epoch)), context.device)),
        partial(encode_shard, learner.model, val_views(feeds["val"].in_order()), autocast=learner.autocast),
        epoch=epoch,
        steps=batches_per_epoch(len(pairs["train"]), batch_size=config.batch_size, world_size=context.world_size),
    )
    if not (np.isfinite(metrics["train_loss"]) and all(shard.is_finite for shard in shards)):
        return None
    classes = None
    if task.prompts:
        classes = class_features(learner.model, tokens, task.prompts.values(), autocast=learner.autocast)
    metrics |= validation_metrics(shards, pairs["val"], config, classes)
    return FinishedEpoch(report=EpochReport(metrics=metrics), save_bundle=partial(_save_bundle, task, learner))


def _save_bundle(task: ClipTask, learner: ClipLearner, path: str, metrics: dict[str, Any]) -> None:
    save_clip_bundle(
        path,
        learner.model,
        load_tokenizer(task.config.weights_uri, learner.model.config),
        labels=tuple(task.prompts),
        dataset_fingerprint=task.dataset_fingerprint,
        metrics=metrics,
    )
