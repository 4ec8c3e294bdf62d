"""By how much an image may be reduced while it is decoded, if it will be resized to less afterwards."""

import numpy as np
from PIL import Image

MIN_WANTED = 224
"""Minimum size in pixels for which an image is decoded; smaller images are made from that decoding, which models share."""


def scale_reduction(width: int, height: int, wanted_size: int) -> int:
    """Factor by which decoding reduces an image of this size in pixels: 1, 2, 4 or 8, as Pillow's `draft` chooses it."""
    max_reduction = min(width, height) // min_side(wanted_size)
    return next((reduction for reduction in (8, 4, 2) if max_reduction >= reduction), 1)


def min_side(wanted_size: int) -> int:
    """Minimum height and width in pixels that a reduced image keeps if it will be resized to `wanted_size`.

    It is large enough for the antialiased resize afterwards to determine the pixels.
    """
    return 2 * max(wanted_size, MIN_WANTED)


def reduced_by_blocks(pixels: np.ndarray, reduction: int) -> np.ndarray:
    """The rounded means of blocks of `reduction` x `reduction` pixels uint8 [H, W]; those at the edges may be smaller."""
    return pixels if reduction == 1 else np.array(Image.fromarray(pixels).reduce(reduction))
