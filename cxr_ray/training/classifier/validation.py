"""Metrics of a classifier over the whole validation split; each worker scores one shard of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from cxr_ray.metrics.calibration import fit_temperature
from cxr_ray.metrics.classification import confusion_matrix, log_loss, per_class_metrics
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.training.batch import Batch
from cxr_ray.training.epoch_report import Mistake
from cxr_ray.training.epochs import AutocastFactory, predict_logits
from cxr_ray.training.shards import positions_of

MISTAKES_SHOWN = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredShard:
    """Logits of one worker's shard of the validation split."""

    positions: np.ndarray
    """int64 [N], positions of the images within the split."""
    logits: np.ndarray
    """float32 [N, K], logits of the K classes; float32 [0, 0] if the shard is empty."""
    mistakes: list[Mistake]
    """The most confident mistakes of the shard, at most `MISTAKES_SHOWN`."""


def mistakes_of(batch: Batch, scores: torch.Tensor, truth: np.ndarray) -> list[Mistake]:
    """Images of a batch whose most probable class is another one.

    Args:
        batch: B images.
        scores: logits float32 [B, K].
        truth: class indices int64 [B].
    """
    confidence, predicted = (values.numpy() for values in scores.softmax(1).max(1))
    return [
        Mistake(
            pixels=np.asarray(batch.pixels[i]),
            truth=int(truth[i]),
            predicted=int(predicted[i]),
            confidence=float(confidence[i]),
        )
        for i in np.flatnonzero(predicted != truth)
    ]


def score_shard(
    model: nn.Module,
    batches: Iterable[Batch],
    targets: np.ndarray,
    *,
    to_input: GreyInput,
    autocast: AutocastFactory,
    mistakes_in: Callable[[Batch, torch.Tensor, np.ndarray], list[Mistake]] = mistakes_of,
) -> ScoredShard:
    """Score this worker's shard of the validation split.

    Args:
        model: classifier that maps inputs float [B, 3, S, S] to logits float [B, K].
        batches: batches that hold each image of the shard once.
        targets: targets of all images of the split, such as class indices int64 [N].
        to_input: function that turns pixels uint8 [B, S, S] into inputs.
        autocast: function that returns the mixed-precision context of the forward pass.
        mistakes_in: function of a batch, its logits and its targets that lists mistakes.
    """
    model.eval()
    positions, logits, mistakes = [np.empty(0, np.int64)], [], list[Mistake]()
    for batch in batches:
        scores = predict_logits(model, to_input(batch.pixels), autocast=autocast)
        positions.append(batch.positions)
        logits.append(scores.numpy())
        mistakes = _most_confident(mistakes + mistakes_in(batch, scores, targets[batch.positions]))
    return ScoredShard(
        positions=np.concatenate(positions),
        logits=np.concatenate(logits) if logits else np.empty((0, 0), np.float32),
        mistakes=mistakes,
    )


def _most_confident(mistakes: list[Mistake]) -> list[Mistake]:
    return sorted(mistakes, key=lambda mistake: -mistake.confidence)[:MISTAKES_SHOWN]


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Metrics of a model over the validation split."""

    metrics: dict[str, float]
    """`val_loss, val_accuracy, val_macro_f1, val_auroc` and `val_recall_LABEL`; NaN if the split has no such class."""
    confusion: np.ndarray | None
    """Confusion matrix int64 [K, K]; rows are true classes, columns are predicted classes; None for findings."""
    mistakes: list[Mistake]
    """The most confident mistakes of the split, at most `MISTAKES_SHOWN`."""
    card: dict[str, Any]
    """Fields of the card that calibrate the model: `temperature`, or `temperatures` and `thresholds` of findings."""

    @property
    def temperature(self) -> float:
        """Number > 0 by which the logits of classes are divided to calibrate them, see `fit_temperature`."""
        return float(self.card["temperature"])


def validation_of(shards: list[ScoredShard], targets: np.ndarray, labels: tuple[str, ...]) -> Validation:
    """Compute metrics over all shards together; the loss is the cross-entropy without class weights or smoothing.

    Args:
        shards: scored shards of all workers.
        targets: class indices int64 [N] of all images of the split.
        labels: class names, in the order of the logits.

    Raises:
        ValueError: if the shards together do not hold every image of the split exactly once.
    """
    positions = positions_of(shards, len(targets))
    logits = np.concatenate([shard.logits for shard in shards if len(shard.logits)])
    truth = targets[positions]
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    predicted = logits.argmax(1)
    per_class = per_class_metrics(truth, predicted, probabilities, labels)
    metrics = {
        "val_loss": _mean_of_known([log_loss(truth, probabilities)]),
        "val_accuracy": float((predicted == truth).mean()),
        "val_macro_f1": _mean_of_known([row["f1"] for row in per_class.values()]),
        "val_auroc": _mean_of_known([row["auroc"] for row in per_class.values()]),
    }
    metrics |= {f"val_recall_{label}": _mean_of_known([row["recall"]]) for label, row in per_class.items()}
    return Validation(
        metrics=metrics,
        confusion=confusion_matrix(truth, predicted, len(labels)),
        mistakes=_most_confident([mistake for shard in shards for mistake in shard.mistakes]),
        card={"temperature": fit_temperature(logits, truth)},
    )


def _mean_of_known(values: list[float | int | None]) -> float:
    """Mean of the values that are not None; NaN if all are None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
