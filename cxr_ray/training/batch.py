"""The batch of images that a feed yields to a training worker."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch


class Batch(NamedTuple):
    """Images of one batch and their positions in the split."""

    positions: np.ndarray
    """int64 [B], positions of the images within the split."""
    pixels: "np.ndarray | torch.Tensor"
    """uint8 [B, S, S], or uint8 [B, P, S, S] for images that have P planes each; a tensor if it waits for a GPU."""
