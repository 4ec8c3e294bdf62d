"""What a feed gives to a worker at a time."""

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Some images of a split."""

    positions: np.ndarray
    """int64 [B], positions of the images within the split."""
    pixels: np.ndarray
    """uint8 [B, S, S], or [B, P, S, S] for images of P planes."""
