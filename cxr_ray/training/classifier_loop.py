"""What each worker of a classifier training does."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import train

from cxr_ray.models.allocator import keep_freed_memory
from cxr_ray.models.bundle import save_bundle
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.class_balance import class_weights
from cxr_ray.training.classifier_task import ClassifierTask
from cxr_ray.training.epoch_lines import EpochReport
from cxr_ray.training.learner import ClassifierLearner
from cxr_ray.training.place import Place
from cxr_ray.training.streamed_feed import StreamedFeed
from cxr_ray.training.training_state import BestBundle, Progress, checkpoint_of, read_state
from cxr_ray.training.validation import Validation, score_share, validation_of
from cxr_ray.training.views import TrainingViews, augmentation_of


def train_from_last_checkpoint(task: ClassifierTask) -> None:
    """Train until the epochs are done or the loss stands still; report a checkpoint after every epoch."""
    config, place = task.config, _place()
    if place.device.type == "cpu":
        torch.set_num_threads(task.threads)
        keep_freed_memory()
    torch.manual_seed(config.seed)
    learner = ClassifierLearner(config, classes=len(task.labels), class_weights=_loss_weights(task), place=place)
    feeds = {split: _feed(task, split, place) for split in ("train", "val")}
    progress, best = Progress(), BestBundle()
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            progress, state = read_state(Path(folder), device=place.device)
            learner.load_state_dict(state)
            best.restore(Path(folder))
    while progress.epoch < config.epochs and progress.epochs_since_least_loss < config.early_stopping_patience:
        began = time.monotonic()
        metrics, validation = _run_epoch(task, learner, feeds, progress.epoch + 1)
        if validation is None:
            ray.get(task.listener.note_divergence.remote(metrics["epoch"]))
            return
        metrics["seconds"] = time.monotonic() - began
        learner.optimization.after_epoch(metrics["val_loss"])
        if progress.add(metrics) and place.is_first:
            _save_best(task, learner, metrics, validation.temperature, best.path)
        _report(task, learner, progress, best, validation)


def _place() -> Place:
    context = train.get_context()
    return Place(rank=context.get_world_rank(), world_size=context.get_world_size(), device=train.torch.get_device())


def _loss_weights(task: ClassifierTask) -> torch.Tensor:
    config, targets = task.config, task.targets["train"]
    power = config.balance_power if config.class_balance == "loss" else 0.0
    return torch.from_numpy(class_weights(targets, len(task.labels), power)).float()


def _feed(task: ClassifierTask, split: str, place: Place) -> CachedFeed | StreamedFeed:
    if task.cached is None:
        share = len(task.targets[split]) // place.world_size
        return StreamedFeed(train.get_dataset_shard(split), task.config.batch_size, share)
    return CachedFeed(PixelCache(ray.get(task.cached[split])), place, task.config.batch_size)


def _run_epoch(
    task: ClassifierTask, learner: ClassifierLearner, feeds: dict[str, Any], epoch: int
) -> tuple[dict[str, Any], Validation | None]:
    """Metrics over all workers and the validation, which is None if the training has diverged.

    All randomness is drawn anew from the seed and the epoch, so that a training that starts again repeats it.
    """
    config, place, targets = task.config, learner.place, task.targets
    torch.manual_seed(_seed(config.seed, epoch, place.rank))
    views = TrainingViews(
        to_input=learner.to_input,
        augmentation=augmentation_of(config),
        classes=len(task.labels),
        mixup=config.mixup,
        generator=torch.Generator().manual_seed(_seed(config.seed, epoch, place.rank, 1)),
        shares=np.random.default_rng([config.seed, epoch, place.rank]),
    )
    steps = math.ceil(max(1, len(targets["train"]) // (config.batch_size * place.world_size)) / config.accumulate)
    began = time.monotonic()
    batches = feeds["train"].shuffled(_seed(config.seed, epoch), _draw_weights(task))
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
    losses, counts, shares = zip(*place.gather((loss, seen, share)), strict=True)
    metrics: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": float(np.average(losses, weights=counts)),
        "learning_rate": learner.optimization.learning_rate,
        "images_per_second": sum(counts) / seconds,
        "workers": place.world_size,
    }
    if not (np.isfinite(metrics["train_loss"]) and all(np.isfinite(share.logits).all() for share in shares)):
        return metrics, None
    validation = validation_of(list(shares), targets["val"], task.labels)
    return metrics | validation.metrics, validation


def _draw_weights(task: ClassifierTask) -> np.ndarray | None:
    if task.config.class_balance != "sampling":
        return None
    targets = task.targets["train"]
    return class_weights(targets, len(task.labels), task.config.balance_power)[targets]


def _seed(*parts: int) -> int:
    """A seed that no other parts give."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _save_best(
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


def _report(
    task: ClassifierTask, learner: ClassifierLearner, progress: Progress, best: BestBundle, validation: Validation
) -> None:
    """Tell Ray Train, which waits for all workers; the first one brings the checkpoint along."""
    metrics = progress.history[-1]
    if not learner.place.is_first:
        train.report(metrics)
        return
    with checkpoint_of(progress, learner.state_dict(), best) as checkpoint:
        train.report(metrics, checkpoint=checkpoint)
    task.listener.add.remote(EpochReport(metrics=metrics, confusion=validation.confusion, mistakes=validation.mistakes))
