"""Find radiographs whose exposure or window cuts grey levels off."""

import numpy as np
from numpy.typing import NDArray

BRIGHT_MARGIN, DARK_MARGIN = 8, 4
"""The outer eighth of each side is left out, where letters are white, and the outer quarter for dark levels, where collimators
and air are black."""
BRIGHTEST, DARKEST = 254, 1
"""Grey levels from which on a pixel counts as cut off; resizing and compression move the last ones a little."""
MAX_FRACTION = 0.05
"""Largest fraction of the pixels of the middle that may be cut off at either end."""


def clipped_ends(pixels: NDArray[np.uint8]) -> tuple[bool, bool]:
    """Whether the bright and the dark end of the grey levels are cut off in the middle of an image.

    Args:
        pixels: uint8 [H, W], as displayed; a narrow window of a DICOM file cuts off levels as an exposure does.
    """
    bright, dark = _middle(pixels, BRIGHT_MARGIN), _middle(pixels, DARK_MARGIN)
    return (
        bool(np.count_nonzero(bright >= BRIGHTEST) > MAX_FRACTION * bright.size),
        bool(np.count_nonzero(dark <= DARKEST) > MAX_FRACTION * dark.size),
    )


def _middle(pixels: NDArray[np.uint8], margin: int) -> NDArray[np.uint8]:
    """Leave out one part in `margin` of the height and width at each side."""
    height, width = pixels.shape
    return pixels[height // margin : height - height // margin, width // margin : width - width // margin]
