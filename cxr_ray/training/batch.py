"""The batch of images that a feed yields to a training worker."""

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Images of one batch and their positions in the split."""

    positions: np.ndarray
    """int64 [B], positions of the images within the split."""
    pixels: np.ndarray
    """uint8 [B, S, S], or uint8 [B, P, S, S] for images that have P planes each."""
