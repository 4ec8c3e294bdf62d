"""Radiographs of which parts are hidden: lungs alone, all but the lungs, the border alone, and the outline of the lungs.

The hidden part becomes a grey level of what is kept, the mean, so that nothing of the hidden pixels is left. What is kept
still shows the outline of the lungs, which may itself tell a disease; the view `outline` says how much it tells.
"""

import numpy as np

MARGIN = 0.03
"""Width of the rim around the lungs that counts as lung where lungs are hidden, as a fraction of the side of the image."""


def lungs_alone(pixels: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Hide all but the lungs, uint8 [N, S, S], of images uint8 [N, S, S] with lungs bool [N, S, S]."""
    return only(pixels, lungs)


def without_lungs(pixels: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Hide the lungs and a rim around them, which blur and movement reach, see `MARGIN`."""
    return only(pixels, ~widened(lungs))


def border_alone(pixels: np.ndarray, lungs: np.ndarray | None, width: float) -> np.ndarray:
    """Hide all but a border of `width`, a fraction of the side; lungs that reach into it are hidden, too.

    Args:
        pixels: uint8 [N, S, S].
        lungs: bool [N, S, S]; None if they are unknown, and then stay where they reach into the border.
        width: width of the border, above 0 and below 0.5.
    """
    side = pixels.shape[1]
    inner = slice(max(1, round(width * side)), side - max(1, round(width * side)))
    kept = np.ones(pixels.shape, bool)
    kept[:, inner, inner] = False
    return only(pixels, kept if lungs is None else kept & ~widened(lungs))


def outline(lungs: np.ndarray) -> np.ndarray:
    """Draw the lungs, bool [N, S, S], white on black: what the outline alone tells."""
    return lungs.astype(np.uint8) * np.uint8(255)


def only(pixels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Fill what is not kept with the mean of what is kept in the same image; an image of which nothing is kept is black.

    Args:
        pixels: uint8 [N, S, S].
        kept: bool [N, S, S].
    """
    counts = kept.sum((1, 2))
    sums = np.where(kept, pixels, 0).sum((1, 2), dtype=np.int64)
    means = np.rint(sums / np.maximum(counts, 1)).astype(np.uint8)
    return np.where(kept, pixels, means[:, None, None])


def widened(lungs: np.ndarray) -> np.ndarray:
    """Widen lungs bool [N, S, S] by `MARGIN` in every direction."""
    from scipy.ndimage import maximum_filter

    reach = 2 * max(1, round(MARGIN * lungs.shape[1])) + 1
    return np.asarray(maximum_filter(lungs, size=(1, reach, reach), mode="constant"))
