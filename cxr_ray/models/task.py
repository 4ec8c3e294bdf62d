"""What the outputs of a classifier mean: one class of each image, or several findings each of which is there or not.

Everything in which scoring depends on the task is here: how logits become probabilities, and what a prediction says.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cxr_ray.errors import BundleError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.multilabel_card import MultilabelCard
from cxr_ray.schema import (
    ABSENT,
    PRESENT,
    finding_column,
    finding_fields,
    probability_column,
    score_fields,
)

if TYPE_CHECKING:
    import torch


class Task(ABC):
    """What the outputs of classifiers with the same labels mean.

    Attributes:
        labels: the C labels, in the order of the outputs.
        temperature: divisor of the logits, or one of each label.
    """

    labels: tuple[str, ...]
    temperature: float | tuple[float, ...]

    @staticmethod
    @abstractmethod
    def fields_of(labels: tuple[str, ...], prefix: str = "") -> list[pa.Field]:
        """Columns of the predictions of classifiers with these labels, each with `prefix` before its name; see `schema`."""

    @staticmethod
    @abstractmethod
    def probabilities(calibrated: "torch.Tensor") -> "torch.Tensor":
        """Probabilities of the labels, float [N, C], of logits float [N, C] that are divided by the temperature."""

    @abstractmethod
    def columns(self, probs: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of the predictions for N images, by their names without prefix.

        Args:
            probs: probabilities of the labels, float32 [N, C].
        """

    @abstractmethod
    def confidence_in(self, chosen: Collection[str], columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Highest probability of a label of `chosen` that each image is said to have, float [N]; NaN if it has none.

        Args:
            chosen: labels; if there is none, no image is NaN.
            columns: columns of the predictions for N images, from `columns`.
        """


@dataclass(frozen=True)
class OneClass(Task):
    """Each image is of one of the labels, or, of a single label, is of it or not."""

    labels: tuple[str, ...]
    temperature: float = 1.0

    @staticmethod
    def fields_of(labels: tuple[str, ...], prefix: str = "") -> list[pa.Field]:
        """`label`, `confidence`, `entropy` and the probability of each class."""
        return score_fields(labels, prefix)

    @staticmethod
    def probabilities(calibrated: "torch.Tensor") -> "torch.Tensor":
        """Softmax; if C is 1, where the softmax would always be 1, the sigmoid."""
        return calibrated.softmax(1) if calibrated.shape[1] > 1 else calibrated.sigmoid()

    def columns(self, probs: np.ndarray) -> dict[str, np.ndarray]:
        """`label`, `confidence` and `entropy` of the prediction, and the probabilities."""
        names, full = outcomes(self.labels, probs)
        return {
            "label": np.array(names)[full.argmax(1)],
            "confidence": full.max(1, initial=0),
            "entropy": entropy(probs),
        } | {probability_column(label): probs[:, i] for i, label in enumerate(self.labels)}

    def confidence_in(self, chosen: Collection[str], columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Confidence of the images whose label is chosen, or of all images if there is none."""
        is_chosen = np.array([not chosen or label in chosen for label in columns["label"]], bool)
        return np.where(is_chosen, columns["confidence"], np.nan)


@dataclass(frozen=True)
class Findings(Task):
    """Each image may have any number of the labels; each is called present at its own threshold."""

    labels: tuple[str, ...]
    temperature: tuple[float, ...]
    thresholds: tuple[float, ...]

    @staticmethod
    def fields_of(labels: tuple[str, ...], prefix: str = "") -> list[pa.Field]:
        """Probability of each finding, and for each whether it is present."""
        return finding_fields(labels, prefix)

    @staticmethod
    def probabilities(calibrated: "torch.Tensor") -> "torch.Tensor":
        """Sigmoid of each label."""
        return calibrated.sigmoid()

    def columns(self, probs: np.ndarray) -> dict[str, np.ndarray]:
        """Probability of each finding, and for each 1 if it is present and 0 if it is absent."""
        calls = np.where(probs >= np.array(self.thresholds), PRESENT, ABSENT).astype(np.int8)
        return {probability_column(label): probs[:, i] for i, label in enumerate(self.labels)} | {
            finding_column(label): calls[:, i] for i, label in enumerate(self.labels)
        }

    def confidence_in(self, chosen: Collection[str], columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Highest probability among the chosen findings that are called present; 1 for all images if none is chosen."""
        if not chosen:
            return np.ones(len(columns[probability_column(self.labels[0])]))
        probs = np.stack([columns[probability_column(label)] for label in chosen], axis=1)
        is_present = np.stack([columns[finding_column(label)] == PRESENT for label in chosen], axis=1)
        return np.where(is_present.any(1), np.where(is_present, probs, 0).max(1), np.nan)


def task_of(card: ModelCard) -> Task:
    """Task of the classifier that a card describes."""
    if isinstance(card, MultilabelCard):
        return Findings(card.labels, card.temperatures, card.thresholds)
    return OneClass(card.labels, card.temperature)


def task_of_mean(uris: Sequence[str], cards: Sequence[ModelCard]) -> Task:
    """Task of the mean of the probabilities of classifiers; the mean is compared with the mean of their thresholds.

    Args:
        uris: URIs of the bundles, for errors.
        cards: their cards, 1 or more.

    Raises:
        BundleError: if they differ in their labels, the labels' order or their task.
    """
    tasks = [task_of(card) for card in cards]
    for uri, card, task in zip(uris, cards, tasks, strict=True):
        if card.labels != cards[0].labels:
            raise BundleError(
                f"{uri} predicts {card.labels}, {uris[0]} predicts {cards[0].labels}; "
                "score bundles of different labels in separate jobs"
            )
        if type(task) is not type(tasks[0]):
            raise BundleError(f"{uri} is a {card.kind}, {uris[0]} is a {cards[0].kind}; score them in separate jobs")
    thresholds = [task.thresholds for task in tasks if isinstance(task, Findings)]
    if not thresholds:
        return OneClass(cards[0].labels)
    means = tuple(float(sum(of_label) / len(of_label)) for of_label in zip(*thresholds, strict=True))
    return Findings(cards[0].labels, (1.0,) * len(means), means)


def entropy(probs: np.ndarray) -> np.ndarray:
    """Entropy in nats, float32 [N], of probabilities float [N, C]; if C is 1, that of presence and absence."""
    full = probs if probs.shape[1] > 1 else np.hstack([probs, 1 - probs])
    return np.asarray(-np.sum(full * np.log(np.clip(full, 1e-12, 1)), axis=1), np.float32)


def outcomes(labels: tuple[str, ...], probs: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Possible outcomes of a prediction with their probabilities; a single label has two, its absence and its presence.

    Args:
        labels: the C labels of a bundle.
        probs: probabilities of the labels, float [N, C].

    Returns:
        Names of the outcomes, and probabilities float [N, outcomes] whose rows sum to 1.
    """
    if len(labels) > 1:
        return labels, probs
    return (f"not_{labels[0]}", labels[0]), np.hstack([1 - probs, probs])
