"""What each worker of a CLIP fine-tuning does."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from cxr_ray.models.biomedclip_checkpoint import load_biomedclip, load_tokenizer
from cxr_ray.models.clip_card import save_clip_bundle
from cxr_ray.training.augmentation import RandomResizedCrop
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.checkpointed_loop import FinishedEpoch, seed_of, train_epochs, training_figures, worker_context
from cxr_ray.training.clip.learner import ClipLearner
from cxr_ray.training.clip.task import ClipTask
from cxr_ray.training.clip.token_table import TokenTable
from cxr_ray.training.clip.validation import class_features, encode_share, validation_metrics
from cxr_ray.training.clip.views import PairViews
from cxr_ray.training.epoch_report import EpochReport


def finetune_from_last_checkpoint(task: ClipTask) -> None:
    """Train until the epochs are done; report a checkpoint after every epoch."""
    config, context = task.config, worker_context(task.threads)
    torch.manual_seed(config.seed)
    learner = ClipLearner(config, load_biomedclip(config.weights_uri), context=context)
    parts, tokens = ray.get(task.pixels), ray.get(task.tokens)
    feeds = {
        split: CachedFeed(PixelCache(parts, pairs.pixels), context, config.batch_size)
        for split, pairs in task.pairs.items()
    }
    train_epochs(
        learner,
        partial(_run_epoch, task, learner, feeds, tokens),
        epochs=config.epochs,
        patience=config.epochs,
        listener=task.listener,
        accuracy_name="val_recall_at_1",
    )


def _run_epoch(
    task: ClipTask, learner: ClipLearner, feeds: dict[str, CachedFeed], tokens: TokenTable, epoch: int
) -> FinishedEpoch | None:
    """Train and validate over all workers; None if the training has diverged.

    All randomness is drawn anew from the seed and the epoch, so that a training that starts again repeats it.
    """
    config, context = task.config, learner.context
    torch.manual_seed(seed_of(config.seed, epoch, context.rank))
    views = PairViews(
        to_input=learner.to_input,
        pairs=task.pairs["train"],
        tokens=tokens,
        crop=RandomResizedCrop(scale=config.crop_scale),
        generator=torch.Generator().manual_seed(seed_of(config.seed, epoch, context.rank, 1)),
    )
    steps = max(1, len(task.pairs["train"]) // (config.batch_size * context.world_size))
    began = time.monotonic()
    batches = views(feeds["train"].shuffled(seed_of(config.seed, epoch)))
    loss, seen = learner.train_epoch(batches, epoch=epoch, steps=steps)
    seconds = time.monotonic() - began
    figures = _validated(task, learner, feeds["val"], tokens)
    losses, counts = zip(*context.gather((loss, seen)), strict=True)
    metrics = training_figures(epoch, losses, counts, seconds=seconds, learning_rate=learner.learning_rate)
    if figures is None or not np.isfinite(metrics["train_loss"]):
        return None
    metrics |= figures
    return FinishedEpoch(report=EpochReport(metrics=metrics), save_bundle=partial(_save_bundle, task, learner, metrics))


def _validated(task: ClipTask, learner: ClipLearner, feed: CachedFeed, tokens: TokenTable) -> dict[str, float] | None:
    """Metrics of the val split over all workers; None if a feature is no finite number."""
    pairs = task.pairs["val"]
    views = PairViews(to_input=learner.to_input, pairs=pairs, tokens=tokens)
    share = encode_share(learner.model, views(feed.in_order()), autocast=learner.autocast)
    shares = learner.context.gather(share)
    if not all(share.is_finite for share in shares):
        return None
    classes = None
    if task.prompts:
        classes = class_features(learner.model, tokens, task.prompts.values(), autocast=learner.autocast)
    return validation_metrics(shares, pairs, task.config, classes)


def _save_bundle(task: ClipTask, learner: ClipLearner, metrics: dict[str, Any], path: Path) -> None:
    model = learner.model
    save_clip_bundle(
        str(path),
        model,
        load_tokenizer(task.config.weights_uri, model.config),
        labels=tuple(task.prompts),
        dataset_fingerprint=task.dataset_fingerprint,
        metrics=metrics,
    )
