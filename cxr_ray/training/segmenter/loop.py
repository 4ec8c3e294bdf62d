"""The training loop of a segmenter, which runs on each worker."""

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import ray

from cxr_ray.models.bundle import save_bundle
from cxr_ray.models.segmenter_ensemble import SegmenterCard, ensemble_weights, member_weights
from cxr_ray.training.ahead import ahead
from cxr_ray.training.batch import Batch
from cxr_ray.training.cached_feed import CachedFeed, PixelCache, batches_per_epoch
from cxr_ray.training.checkpointed_loop import FinishedEpoch, start_worker, train_and_validate, train_epochs
from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.seeds import seed_epoch, seed_of
from cxr_ray.training.segmenter.learner import SegmenterLearner
from cxr_ray.training.segmenter.task import SegmenterTask
from cxr_ray.training.segmenter.validation import mask_metrics, segment_shard
from cxr_ray.training.segmenter.views import MaskedViews

MEMBERS = "members"
"""Metric by which the best epoch is chosen: number of networks in the ensemble at the end of a cycle, otherwise 0."""


def train_segmenter_from_last_checkpoint(task: SegmenterTask) -> None:
    """Train from the last checkpoint until all epochs are finished; report a checkpoint after each epoch."""
    config, context = task.config, start_worker(task)
    learner = SegmenterLearner(config, context=context)
    caches = {split: PixelCache(ray.get(parts)) for split, parts in task.cached.items()}
    feeds = {split: CachedFeed(cache, context, config.batch_size) for split, cache in caches.items()}
    counts = {split: len(cache) for split, cache in caches.items()}
    epoch_of = partial(run_epoch, task, learner, feeds, counts)
    train_epochs(learner, epoch_of, epochs=config.epochs, listener=task.listener, best_by=MEMBERS)


def run_epoch(
    task: SegmenterTask,
    learner: SegmenterLearner,
    feeds: Mapping[str, CachedFeed],
    counts: Mapping[str, int],
    epoch: int,
) -> FinishedEpoch | None:
    """Train and validate epoch `epoch` (the first is 1) on this worker; return None if the training has diverged."""
    config, context = task.config, learner.context
    views = MaskedViews(task, context.device, seed_epoch(config.seed, epoch, context.rank))
    one_pass = batches_per_epoch(counts["train"], batch_size=config.batch_size, world_size=context.world_size)
    steps = config.steps or one_pass
    metrics, shards = train_and_validate(
        learner,
        views(ahead(drawn_batches(feeds["train"], steps, config.seed, epoch), context.device)),
        partial(
            segment_shard, learner.network, feeds["val"].in_order(), device=context.device, autocast=learner.autocast
        ),
        epoch=epoch,
        steps=steps,
    )
    metrics |= mask_metrics(shards, counts["val"])
    if not (np.isfinite(metrics["train_loss"]) and np.isfinite(metrics["val_loss"])):
        return None
    left_in_cycle = -epoch % (config.epochs // config.cycles)
    if left_in_cycle < config.keep:
        learner.keep_member()
    metrics[MEMBERS] = 0 if left_in_cycle else len(learner.members)
    return FinishedEpoch(report=EpochReport(metrics=metrics), save_bundle=partial(_save_bundle, task, learner))


def drawn_batches(feed: CachedFeed, steps: int, *seed: int) -> Iterator[Batch]:
    """Yield `steps` batches from passes over the images; each pass has its own random order, and the last one may be cut.

    `seed` holds the integers from which the order of each pass is derived.
    """
    passes = (feed.shuffled(seed_of(*seed, number)) for number in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(passes), steps)


def _save_bundle(task: SegmenterTask, learner: SegmenterLearner, path: str, metrics: dict[str, Any]) -> None:
    members = learner.members or [member_weights(learner.network)]
    save_bundle(
        path,
        ensemble_weights(members),
        SegmenterCard,
        filters=task.config.filters,
        members=len(members),
        mirrored=task.config.mirrored,
        image_size=task.config.image_size,
        dataset_fingerprint=task.dataset_fingerprint,
        metrics=metrics,
    )
