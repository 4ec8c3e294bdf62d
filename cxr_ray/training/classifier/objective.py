"""What a classifier learns: everything in which training one class of an image differs from training several findings."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.errors import DatasetError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.training.batch import Batch
from cxr_ray.training.classifier.validation import ScoredShard, Validation
from cxr_ray.training.epoch_report import Mistake


class Objective(ABC):
    """What a classifier learns from a dataset; the driver sends it to all workers.

    Args:
        config: options of the training.
        dataset: rows of the dataset, of all splits.

    Attributes:
        labels: the K labels, in the order of the classifier's outputs.
        card_type: type of the card of the bundle.
    """

    card_type: ClassVar[type[ModelCard]]
    labels: tuple[str, ...]

    @abstractmethod
    def __init__(self, config: TrainClassifierConfig, dataset: pa.Table) -> None:
        """Read the labels of the dataset."""

    @staticmethod
    @abstractmethod
    def read(uri: str) -> pa.Table:
        """Read the dataset with the columns of its labels."""

    @abstractmethod
    def check(self, rows: Mapping[str, pa.Table]) -> None:
        """Refuse splits, by name, from which the labels cannot be learned or validated.

        Raises:
            DatasetError: if a label lacks images.
        """

    @abstractmethod
    def targets(self, rows: pa.Table, split: str) -> np.ndarray:
        """Targets of N images of a split, [N] or [N, K]; those of val are the truth that is judged by."""

    @abstractmethod
    def loss_weights(self, targets: np.ndarray) -> torch.Tensor:
        """Weights of the loss, for the targets of the train split."""

    @abstractmethod
    def draw_weights(self, targets: np.ndarray) -> np.ndarray | None:
        """Weights float64 [N] with which images of the train split are drawn; None draws each of them once."""

    @staticmethod
    @abstractmethod
    def loss(logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Mean loss of B images, see `losses`."""

    @staticmethod
    @abstractmethod
    def truth_of(targets: np.ndarray, classes: int) -> torch.Tensor:
        """Targets of B images as the loss takes them, float32 [B, K]."""

    @staticmethod
    @abstractmethod
    def mistakes(batch: Batch, scores: torch.Tensor, truth: np.ndarray) -> list[Mistake]:
        """Mistakes in a batch of the val split with logits float32 [B, K] and targets [B] or [B, K]."""

    @abstractmethod
    def validation(self, shards: list[ScoredShard], targets: np.ndarray) -> Validation:
        """Metrics and calibration over all shards of the val split together."""

    @abstractmethod
    def summary(self, card: ModelCard) -> str:
        """Text for the terminal about the metrics of the best epoch."""


def refuse_small_splits(rows: Mapping[str, pa.Table], *, workers: int) -> None:
    """Refuse splits with fewer than two images for each of `workers` workers.

    Raises:
        DatasetError: if a split is too small.
    """
    for split, table in rows.items():
        if table.num_rows < 2 * workers:
            raise DatasetError(
                f"{table.num_rows} {split} images are too few for {workers} workers, each of which needs two; "
                "lower --num-workers or add images"
            )
