"""The objective of a classifier of several findings, each of which an image may have, not have, or have with uncertainty."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch

from cxr_ray.archive.datasets import finding_labels, finding_values, read_findings
from cxr_ray.config import TrainClassifierConfig
from cxr_ray.config.checks import require
from cxr_ray.errors import DatasetError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.multilabel_card import MultilabelCard
from cxr_ray.schema import ABSENT, PRESENT, UNCERTAIN, finding_name
from cxr_ray.training.batch import Batch
from cxr_ray.training.classifier.class_balance import class_weights
from cxr_ray.training.classifier.finding_validation import finding_validation
from cxr_ray.training.classifier.losses import masked_binary_cross_entropy
from cxr_ray.training.classifier.objective import Objective
from cxr_ray.training.classifier.validation import ScoredShard, Validation
from cxr_ray.training.epoch_report import Mistake

UNCERTAIN_AS = {"ignore": np.nan, "positive": 1.0, "negative": 0.0, "smoothed": 0.7}
"""Target of an uncertain label by `--uncertain`. For `smoothed` it is the mean of the range 0.55 to 0.85 from which Pham et al. draw
it (2021, "Interpreting chest X-rays via CNNs that exploit hierarchical disease dependencies and uncertainty labels")."""


class FindingsObjective(Objective):
    """Each image has any number of findings; targets are float32 [N, K] in [0, 1], NaN where a label does not count."""

    card_type: ClassVar[type[ModelCard]] = MultilabelCard

    def __init__(self, config: TrainClassifierConfig, dataset: pa.Table) -> None:
        self._config = config
        known = finding_labels(dataset)
        self.labels = tuple(map(finding_name, config.findings)) or known
        named = {"findings": self.labels, "label_weights": tuple(map(finding_name, config.weights_of_labels()))}
        for option, labels in named.items():
            for label in labels:
                require(
                    label in (known if option == "findings" else self.labels),
                    option,
                    label,
                    f"among {', '.join(known)}",
                )

    @staticmethod
    def read(uri: str) -> pa.Table:
        """Read the dataset with its columns of findings."""
        return read_findings(uri)

    def check(self, rows: Mapping[str, pa.Table]) -> None:
        """Refuse a finding that is not both present and absent, with certainty, in train and in val."""
        for split, table in rows.items():
            values = finding_values(table, self.labels)
            for k, label in enumerate(self.labels):
                for value, name in ((PRESENT, "present"), (ABSENT, "absent")):
                    if not (values[:, k] == value).any():
                        others = " ".join(other for other in self.labels if other != label)
                        raise DatasetError(
                            f"{label} is {name} in no {split} image; leave it out with --findings {others}, or prepare the dataset"
                            " again"
                        )

    def targets(self, rows: pa.Table, split: str) -> np.ndarray:
        """Targets float32 [N, K]; uncertain labels are taken as the config says in train, and never count in val."""
        values = finding_values(rows, self.labels)
        taken = UNCERTAIN_AS[self._config.uncertain] if split == "train" else np.nan
        return np.where(values == UNCERTAIN, np.float32(taken), values)

    def loss_weights(self, targets: np.ndarray) -> torch.Tensor:
        """Weight of an absent and of a present label of each finding, float32 [2, K]."""
        power = self._config.balance_power if self._config.class_balance == "loss" else 0.0
        of_label = {finding_name(name): weight for name, weight in self._config.weights_of_labels().items()}
        weights = np.ones((2, len(self.labels)))
        for k, label in enumerate(self.labels):
            certain = targets[np.isin(targets[:, k], (0, 1)), k].astype(np.int64)
            weights[:, k] = class_weights(certain, 2, power) * of_label.get(label, 1.0)
        return torch.from_numpy(weights).float()

    def draw_weights(self, targets: np.ndarray) -> np.ndarray | None:  # noqa: ARG002 - see Objective
        """None, because an image of a rare finding may have frequent ones, too; the config refuses sampling."""
        return None

    @staticmethod
    def loss(logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Binary cross-entropy of the known labels."""
        return masked_binary_cross_entropy(logits, truth, weights, smoothing)

    @staticmethod
    def truth_of(targets: np.ndarray, classes: int) -> torch.Tensor:  # noqa: ARG004 - see Objective
        """The targets themselves."""
        return torch.from_numpy(targets)

    @staticmethod
    def mistakes(batch: Batch, scores: torch.Tensor, truth: np.ndarray) -> list[Mistake]:  # noqa: ARG004 - see Objective
        """None: an image that is right in most findings is no mistake."""
        return []

    def validation(self, shards: list[ScoredShard], targets: np.ndarray) -> Validation:
        """Metrics of the known labels, and a temperature and a threshold of each finding."""
        return finding_validation(shards, targets, self.labels)

    def summary(self, card: ModelCard) -> str:
        """Mean AUROC and F1, and the AUROC and the threshold of each finding."""
        best = card.metrics
        assert isinstance(card, MultilabelCard)  # noqa: S101 - for the type checker
        each = ", ".join(
            f"{label} {best.get(f'val_auroc_{label}', float('nan')):.3f} (present from {threshold:.2f})"
            for label, threshold in zip(card.labels, card.thresholds, strict=True)
        )
        return f"val AUROC {best['val_auroc']:.4f}, macro F1 {best['val_macro_f1']:.4f}\nAUROC: {each}"
