"""What each worker of a classifier training does."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import train
from ray.actor import ActorHandle
from sklearn.metrics import accuracy_score, f1_score
from torch.nn import functional

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.models.backbones import BACKBONES, build_backbone
from cxr_ray.models.bundle import IMAGENET_MEAN, IMAGENET_STD, save_bundle
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.models.precision import autocast
from cxr_ray.training.epochs import TrainingImages, predict_logits, shuffled_batches, train_epoch
from cxr_ray.training.optimization import Optimization
from cxr_ray.training.pixel_cache import PixelCache


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierTask:
    """All that a worker needs to know."""

    config: TrainClassifierConfig
    labels: tuple[str, ...]
    train_parts: list[ray.ObjectRef]
    train_targets: np.ndarray
    val_parts: list[ray.ObjectRef]
    val_targets: np.ndarray
    dataset_fingerprint: str
    threads: int
    listener: ActorHandle
    """Receives the metrics of each epoch as it ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where among the workers this one stands, and its device."""

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def of_this_worker(cls) -> "Place":
        """As Ray Train has it."""
        context = train.get_context()
        return cls(rank=context.get_world_rank(), world_size=context.get_world_size(), device=train.torch.get_device())


@dataclass(slots=True)
class BestEpoch:
    """The best validation so far."""

    accuracy: float = -1.0
    loss: float = float("inf")
    epochs_since: int = field(default=0)

    def is_beaten_by(self, accuracy: float, loss: float) -> bool:
        """Take in an epoch; True if its model should be kept. Patience runs until the loss or the accuracy gains."""
        better = (accuracy, -loss) > (self.accuracy, -self.loss)
        self.epochs_since = 0 if better or loss < self.loss else self.epochs_since + 1
        self.accuracy, self.loss = (accuracy, loss) if better else (self.accuracy, min(loss, self.loss))
        return better


def train_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """Train `loop_config["task"]` (a `ClassifierTask`), report every epoch, keep a bundle of the best one."""
    task: ClassifierTask = loop_config["task"]
    config, place = task.config, Place.of_this_worker()
    torch.manual_seed(config.seed)
    if place.device.type == "cpu":
        torch.set_num_threads(task.threads)
    model, to_input = _model_and_input(task, place.device)
    images = TrainingImages(PixelCache(ray.get(task.train_parts)), task.train_targets, to_input)
    val_images = TrainingImages(PixelCache(ray.get(task.val_parts)), task.val_targets, to_input)
    optimization = Optimization(model, config, steps=_steps_per_epoch(task, place) * config.epochs)
    generator = torch.Generator().manual_seed(config.seed * place.world_size + place.rank)
    best = BestEpoch()
    for epoch in range(1, config.epochs + 1):
        began = time.monotonic()
        loss = train_epoch(
            model,
            images.augmented(_batches(task, place, epoch), generator),
            criterion=torch.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing),
            autocast=lambda: autocast(place.device, config.precision),
            update=optimization.update,
        )
        metrics = {"epoch": epoch, "train_loss": loss, "learning_rate": optimization.learning_rate}
        metrics["images_per_second"] = len(task.train_targets) / (time.monotonic() - began)
        metrics |= validate(model, val_images, task, place)
        optimization.after_epoch(metrics["val_loss"])
        is_best = best.is_beaten_by(metrics["val_accuracy"], metrics["val_loss"])
        _report(model, task, metrics, is_best=is_best, is_first=place.rank == 0)
        if best.epochs_since >= config.early_stopping_patience:
            break


def _model_and_input(task: ClassifierTask, device: torch.device) -> tuple[torch.nn.Module, GreyInput]:
    config, backbone = task.config, BACKBONES[task.config.backbone]
    model = build_backbone(
        config.backbone,
        num_classes=len(task.labels),
        image_size=config.image_size,
        pretrained=config.pretrained,
    )
    memory_format = torch.channels_last if backbone.channels_last else torch.contiguous_format
    model = train.torch.prepare_model(model.to(memory_format=memory_format))
    return model, GreyInput(IMAGENET_MEAN, IMAGENET_STD, device, memory_format)


def _steps_per_epoch(task: ClassifierTask, place: Place) -> int:
    return max(1, len(task.train_targets) // (task.config.batch_size * place.world_size))


def _batches(task: ClassifierTask, place: Place, epoch: int) -> Iterator[np.ndarray]:
    return shuffled_batches(
        len(task.train_targets),
        batch_size=task.config.batch_size,
        rank=place.rank,
        world_size=place.world_size,
        seed=task.config.seed * 100_003 + epoch,
    )


def validate(model: torch.nn.Module, images: TrainingImages, task: ClassifierTask, place: Place) -> dict[str, float]:
    """Loss, accuracy and macro F1 over all validation images: each worker scores its share, every image once."""
    mine = np.arange(place.rank, len(task.val_targets), place.world_size)
    batches = (images.inputs(mine[s : s + task.config.batch_size]) for s in range(0, len(mine), task.config.batch_size))
    logits = predict_logits(model, batches, autocast=lambda: autocast(place.device, task.config.precision))
    shares: list[Any] = [(mine, logits.numpy())]
    if place.world_size > 1:
        shares = [None] * place.world_size
        torch.distributed.all_gather_object(shares, (mine, logits.numpy()))
    positions = np.concatenate([p for p, _ in shares])
    scores = np.concatenate([s for _, s in shares if len(s)])
    targets = task.val_targets[positions]
    predicted = scores.argmax(1)
    return {
        "val_loss": float(functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(targets))),
        "val_accuracy": float(accuracy_score(targets, predicted)),
        "val_macro_f1": float(f1_score(targets, predicted, average="macro", zero_division=0)),
    }


def _report(
    model: torch.nn.Module, task: ClassifierTask, metrics: dict[str, Any], *, is_best: bool, is_first: bool
) -> None:
    """Tell Ray Train, which waits for all workers; the first one brings the bundle along if the epoch was the best."""
    if not (is_first and is_best):
        train.report(metrics)
    else:
        with tempfile.TemporaryDirectory() as folder:
            config = task.config
            save_bundle(
                str(Path(folder)),
                getattr(model, "module", model).state_dict(),
                kind="classifier",
                backbone=config.backbone,
                labels=task.labels,
                image_size=config.image_size,
                dataset_fingerprint=task.dataset_fingerprint,
                metrics=metrics,
            )
            train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))
    if is_first:
        ray.get(task.listener.add.remote(metrics))
