"""Cover what a machine or a person has written into radiographs: corners, letters, text and wires outside the lungs."""

import numpy as np

STROKE = 0.05
"""Width of the widest stroke that counts as writing, as a fraction of the side of the image."""
CONTRAST = 60
"""Grey levels by which writing is brighter than what surrounds it."""


def corners_covered(pixels: np.ndarray, lungs: np.ndarray | None, side: float) -> np.ndarray:
    """Cover a square in each corner with its median, and spare the lungs.

    Args:
        pixels: uint8 [N, S, S].
        lungs: bool [N, S, S]; None if they are unknown.
        side: side of the squares as a fraction of that of the image, above 0 and below 0.5.
    """
    size, whole = _size(pixels, side), pixels.shape[1]
    ends = (slice(0, size), slice(whole - size, whole))
    return _squares_covered(pixels, lungs, [(rows, columns) for rows in ends for columns in ends])


def sides_covered(pixels: np.ndarray, lungs: np.ndarray | None, side: float) -> np.ndarray:
    """Cover equal squares in the middle of each side, as a control of `corners_covered`; same arguments."""
    size, whole = _size(pixels, side), pixels.shape[1]
    start, end, middle = slice(0, size), slice(whole - size, whole), slice((whole - size) // 2, (whole + size) // 2)
    return _squares_covered(pixels, lungs, [(start, middle), (end, middle), (middle, start), (middle, end)])


def text_covered(pixels: np.ndarray, lungs: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Cover bright thin strokes outside the lungs with what surrounds them.

    Strokes are pixels that the white top-hat of the image (its difference from its grey opening, Serra 1982) shows
    brighter than `CONTRAST`; they become their grey opening.

    Args:
        pixels: uint8 [N, S, S].
        lungs: bool [N, S, S]; None if they are unknown, and then thin bright strokes in them are covered, too.

    Returns:
        The covered images uint8 [N, S, S], and the fraction of each that was covered, float64 [N].
    """
    from scipy.ndimage import grey_opening, maximum_filter

    reach = max(3, round(STROKE * pixels.shape[1]))
    opened = np.stack([grey_opening(image, size=(reach, reach)) for image in pixels])
    written = pixels.astype(np.int16) - opened > CONTRAST
    written = maximum_filter(written, size=(1, 3, 3))  # the grey rim of a stroke
    if lungs is not None:
        written &= ~lungs
    return np.where(written, opened, pixels), written.mean((1, 2))


def _size(pixels: np.ndarray, side: float) -> int:
    return max(1, round(side * pixels.shape[1]))


def _squares_covered(pixels: np.ndarray, lungs: np.ndarray | None, squares: list[tuple[slice, slice]]) -> np.ndarray:
    covered = pixels.copy()
    for rows, columns in squares:
        patch = pixels[:, rows, columns]
        medians = np.median(patch, axis=(1, 2)).astype(np.uint8)[:, None, None]
        spared = False if lungs is None else lungs[:, rows, columns]
        covered[:, rows, columns] = np.where(spared, patch, medians)
    return covered
