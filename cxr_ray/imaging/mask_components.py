"""Connected pieces and holes of one mask, with 8-connected pixels inside it and so 4-connected ones outside."""

import numpy as np
from numpy.typing import NDArray

MAX_PIECES = 255


def ranked_components(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Number the 8-connected pieces of a mask by area, the largest first.

    Args:
        mask: bool [H, W].

    Returns:
        uint8 [H, W], 0 outside the mask and i in the i-th largest piece; of equal pieces, the one whose pixels begin first
        is the larger one. Pieces beyond the 255 largest are 0, too.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3), bool))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-areas, kind="stable")[:MAX_PIECES]
    rank = np.zeros(count + 1, np.uint8)
    rank[order + 1] = np.arange(1, len(order) + 1)
    return np.asarray(rank[labels])


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of a mask bool [H, W]: pixels outside it from which no 4-connected path leads to the frame of the image."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(mask), dtype=bool)
