"""The objective of a classifier that gives each image one of several classes."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional

from cxr_ray.archive.datasets import class_labels, read_dataset
from cxr_ray.config import TrainClassifierConfig
from cxr_ray.errors import DatasetError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.training.batch import Batch
from cxr_ray.training.classifier.class_balance import class_weights
from cxr_ray.training.classifier.losses import cross_entropy
from cxr_ray.training.classifier.objective import Objective
from cxr_ray.training.classifier.validation import ScoredShard, Validation, mistakes_of, validation_of
from cxr_ray.training.epoch_report import Mistake


class OneClassObjective(Objective):
    """Each image has one class, which the column `label` names; targets are class indices int64 [N]."""

    card_type: ClassVar[type[ModelCard]] = ModelCard

    def __init__(self, config: TrainClassifierConfig, dataset: pa.Table) -> None:
        self._config, self.labels = config, class_labels(dataset)

    @staticmethod
    def read(uri: str) -> pa.Table:
        """Read the dataset."""
        return read_dataset(uri)

    def check(self, rows: Mapping[str, pa.Table]) -> None:
        """Refuse a class without a train image."""
        refuse_unseen_classes(rows["train"], self.labels)

    def targets(self, rows: pa.Table, split: str) -> np.ndarray:  # noqa: ARG002 - see Objective
        """Class indices int64 [N], alike for all splits."""
        return targets_of(rows, self.labels)

    def loss_weights(self, targets: np.ndarray) -> torch.Tensor:
        """Weight of each class, float32 [K]."""
        power = self._config.balance_power if self._config.class_balance == "loss" else 0.0
        return torch.from_numpy(class_weights(targets, len(self.labels), power)).float()

    def draw_weights(self, targets: np.ndarray) -> np.ndarray | None:
        """Weight of the class of each image."""
        if self._config.class_balance != "sampling":
            return None
        return class_weights(targets, len(self.labels), self._config.balance_power)[targets]

    @staticmethod
    def loss(logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Class-weighted cross-entropy."""
        return cross_entropy(logits, truth, weights, smoothing)

    @staticmethod
    def truth_of(targets: np.ndarray, classes: int) -> torch.Tensor:
        """Class probabilities, 1 for the class of each image."""
        return one_hot(targets, classes)

    @staticmethod
    def mistakes(batch: Batch, scores: torch.Tensor, truth: np.ndarray) -> list[Mistake]:
        """Images whose most probable class is another one."""
        return mistakes_of(batch, scores, truth)

    def validation(self, shards: list[ScoredShard], targets: np.ndarray) -> Validation:
        """Metrics, and one temperature."""
        return validation_of(shards, targets, self.labels)

    def summary(self, card: ModelCard) -> str:
        """Accuracy, macro F1 and temperature, and the recall of each class."""
        best = card.metrics
        recalls = ", ".join(f"{label} {best.get(f'val_recall_{label}', float('nan')):.2f}" for label in card.labels)
        return (
            f"val accuracy {best['val_accuracy']:.4f}, macro F1 {best['val_macro_f1']:.4f}, "
            f"temperature {card.temperature:.2f}\nrecall: {recalls}"
        )


def one_hot(targets: np.ndarray, classes: int) -> torch.Tensor:
    """Class probabilities float32 [B, classes] of class indices int64 [B]."""
    return functional.one_hot(torch.from_numpy(targets), classes).float()


def targets_of(rows: pa.Table, labels: tuple[str, ...]) -> np.ndarray:
    """Return the class index of each of the N rows, int64 [N]: the position of its label in `labels`."""
    return np.array([labels.index(label) for label in rows["label"].to_pylist()], np.int64)


def refuse_unseen_classes(train: pa.Table, labels: tuple[str, ...]) -> None:
    """Refuse a dataset with a class of `labels` that no train image has.

    Raises:
        DatasetError: if there is such a class.
    """
    if unseen := set(labels) - set(train["label"].to_pylist()):
        raise DatasetError(f"no train image is labelled {', '.join(sorted(unseen))}; prepare the dataset again")
