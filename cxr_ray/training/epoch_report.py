"""The report of an epoch. It needs no torch, which the actor that collects reports would import during an epoch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """An image that the classifier assigned to a wrong class."""

    pixels: np.ndarray
    """uint8 [S, S], the image as it was validated."""
    truth: int
    """Index of the true class."""
    predicted: int
    """Index of the predicted class."""
    confidence: float
    """Probability of the predicted class, 0-1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """What the first worker reports of an epoch."""

    metrics: dict[str, Any]
    """Numbers by name, `epoch` among them."""
    confusion: np.ndarray | None = None
    """int64 [K, K] of the validation split, a row for each true class; None where the model has no classes."""
    mistakes: list[Mistake] = field(default_factory=list)
