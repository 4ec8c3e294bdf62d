"""What is told of an epoch; no torch, for the actor that hands it on would import it in the midst of the next epoch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """An image that was taken for another class."""

    pixels: np.ndarray
    """uint8 [S, S]."""
    truth: int
    predicted: int
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """What the first worker tells of an epoch."""

    metrics: dict[str, Any]
    confusion: np.ndarray | None = None
    """int64 [K, K] of the validation split, rows truth; None where no classes are told apart."""
    mistakes: list[Mistake] = field(default_factory=list)
