"""The report of an epoch; without torch, which the actor that collects reports would else import during training."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """An image that the classifier assigned to a wrong class."""

    pixels: np.ndarray
    """uint8 [S, S], the image as the classifier received it."""
    truth: int
    """Index of the true class."""
    predicted: int
    """Index of the predicted class."""
    confidence: float
    """Probability of the predicted class, 0-1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """Results of an epoch, which the first worker reports for all workers."""

    metrics: dict[str, Any]
    """Metrics by name, including `epoch`, the number of the epoch."""
    confusion: np.ndarray | None = None
    """Confusion matrix of the validation split, int64 [K, K], one row per true class; None for models without classes."""
    mistakes: list[Mistake] = field(default_factory=list)
    """Most confident mistakes in the validation split; empty for models without classes."""
