"""What each worker of a student's training does."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from cxr_ray.models.bundle import save_bundle
from cxr_ray.models.student import StudentCard, ensemble_weights, member_weights, standardised
from cxr_ray.training.augmentation import Augmentation
from cxr_ray.training.batch import Batch
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.checkpointed_loop import FinishedEpoch, seed_of, train_epochs, training_figures, worker_context
from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.segmenter.learner import MaskTargets, SegmenterLearner
from cxr_ray.training.segmenter.task import SegmenterTask
from cxr_ray.training.segmenter.validation import mask_metrics, segment_share

MEMBERS = "members"
"""Metric by which the best epoch is chosen: the networks in the ensemble where a cycle ends, 0 within one."""


def train_segmenter_from_last_checkpoint(task: SegmenterTask) -> None:
    """Train until the epochs are done; report a checkpoint after every epoch."""
    config, context = task.config, worker_context(task.threads)
    torch.manual_seed(config.seed)
    learner = SegmenterLearner(config, context=context)
    caches = {split: PixelCache(ray.get(parts)) for split, parts in task.cached.items()}
    feeds = {split: CachedFeed(cache, context, config.batch_size) for split, cache in caches.items()}
    train_epochs(
        learner,
        partial(_run_epoch, task, learner, feeds, {split: len(cache) for split, cache in caches.items()}),
        epochs=config.epochs,
        patience=config.epochs,
        listener=task.listener,
        accuracy_name=MEMBERS,
    )


def _run_epoch(
    task: SegmenterTask, learner: SegmenterLearner, feeds: dict[str, CachedFeed], counts: dict[str, int], epoch: int
) -> FinishedEpoch | None:
    """Train and validate over all workers; None if the training has diverged.

    All randomness is drawn anew from the seed and the epoch, so that a training that starts again repeats it.
    """
    config, context = task.config, learner.context
    torch.manual_seed(seed_of(config.seed, epoch, context.rank))
    views = MaskedViews(
        task, context.device, torch.Generator().manual_seed(seed_of(config.seed, epoch, context.rank, 1))
    )
    steps = config.steps or max(1, counts["train"] // (config.batch_size * context.world_size))
    batches = drawn_batches(feeds["train"], steps, config.seed, epoch)
    began = time.monotonic()
    loss, seen = learner.train_epoch(views(batches), epoch=epoch, steps=steps)
    seconds = time.monotonic() - began
    share = segment_share(learner.network, feeds["val"].in_order(), context=context, autocast=learner.autocast)
    losses, seens, shares = zip(*context.gather((loss, seen, share)), strict=True)
    metrics = training_figures(epoch, losses, seens, seconds=seconds, learning_rate=learner.learning_rate)
    metrics |= mask_metrics(shares, counts["val"])
    if not (np.isfinite(metrics["train_loss"]) and np.isfinite(metrics["val_loss"])):
        return None
    left_in_cycle = -epoch % (config.epochs // config.cycles)
    if left_in_cycle < config.keep:
        learner.keep_member()
    metrics[MEMBERS] = 0 if left_in_cycle else len(learner.members)
    return FinishedEpoch(report=EpochReport(metrics=metrics), save_bundle=partial(_save_bundle, task, learner, metrics))


def drawn_batches(feed: CachedFeed, steps: int, *seed: int) -> Iterator[Batch]:
    """The batches of `steps` steps: passes over the images, each in an order of its own, the last one cut short."""
    passes = (feed.shuffled(seed_of(*seed, number)) for number in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(passes), steps)


class MaskedViews:
    """Makes what a step learns from: views of images, and of their masks moved alike.

    Args:
        task: its config says how far views stray, and how much each mask is trusted.
        device: of the network.
        generator: of the views, on the CPU.
    """

    def __init__(self, task: SegmenterTask, device: torch.device, generator: torch.Generator) -> None:
        config = task.config
        self._weights, self._device, self._generator = task.weights, device, generator
        names = [field.name for field in fields(Augmentation)]
        self._augmentation = Augmentation(**{name: getattr(config, name) for name in names})

    def __call__(self, batches: Iterator[Batch]) -> Iterator[tuple[torch.Tensor, MaskTargets]]:
        """Inputs float32 [B, 1, S, S] and targets, on the device, of batches of planes uint8 [B, 2, S, S]."""
        for batch in batches:
            planes = torch.from_numpy(batch.pixels).to(self._device, non_blocking=True).float()
            moved = self._augmentation.moved(planes, self._generator)
            toned = self._augmentation.toned(moved[:, :1], self._generator)
            grey = self._augmentation.erased(toned, self._generator)
            weights = torch.from_numpy(self._weights[batch.positions]).float().to(self._device)
            targets = MaskTargets(masks=moved[:, 1:] / 255, weights=weights)
            yield standardised(grey), targets


def _save_bundle(task: SegmenterTask, learner: SegmenterLearner, metrics: dict[str, Any], path: Path) -> None:
    members = learner.members or [member_weights(learner.network)]
    save_bundle(
        str(path),
        ensemble_weights(members),
        StudentCard,
        filters=task.config.filters,
        members=len(members),
        mirrored=task.config.mirrored,
        image_size=task.config.image_size,
        dataset_fingerprint=task.dataset_fingerprint,
        metrics=metrics,
    )
