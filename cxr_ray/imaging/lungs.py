"""Separate a lung mask into the right and the left lung, and measure a lung's symmetry, centroid and outline."""

from dataclasses import dataclass

import numpy as np

MIN_LUNG_FRACTION = 0.15
"""Minimum fraction of the mask's area that a piece must have to count as a lung."""
PAIR_ASPECT = 0.75
"""Minimum ratio of width to height at which a single piece counts as two lungs that touch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LungPair:
    """Right and left lung of a patient who faces the viewer: the right lung is on the left side of the image.

    Every pixel of the mask belongs to exactly one lung.

    Attributes:
        right: mask of the right lung, bool [H, W]; all False if there is none.
        left: mask of the left lung, bool [H, W]; all False if there is none.
    """

    right: np.ndarray
    left: np.ndarray

    @property
    def symmetry(self) -> float | None:
        """Area of the smaller lung divided by the area of the larger, 0 to 1; None if both are empty."""
        areas = sorted((int(self.right.sum()), int(self.left.sum())))
        return areas[0] / areas[1] if areas[1] else None


def lung_pair(components: np.ndarray) -> LungPair:
    """Assign the pieces of a mask to the right and the left lung.

    The two largest pieces are the lungs. A single piece that is broad enough for both is cut where it is thinnest in
    its middle third; a single narrow piece is the lung of its side. Smaller pieces go to the nearer lung.

    Args:
        components: uint8 [H, W], 0 outside the mask and i in the i-th largest piece, as `largest_components` returns it.
    """
    mask, columns = components > 0, np.arange(components.shape[1])
    areas = np.bincount(components.ravel())[1:]
    if not len(areas):
        return LungPair(right=mask, left=mask.copy())
    centres = np.array([_mean_column(components == label) for label in range(1, len(areas) + 1)])
    main = [piece for piece in range(min(2, len(areas))) if areas[piece] >= MIN_LUNG_FRACTION * areas.sum()]
    cut = _cut_of(components == 1) if len(main) == 1 else None
    if cut is not None:
        is_right = columns < cut
        return LungPair(right=mask & is_right, left=mask & ~is_right)
    if len(main) == 1:
        empty = np.zeros_like(mask)
        if centres[0] < mask.shape[1] / 2:
            return LungPair(right=mask, left=empty)
        return LungPair(right=empty, left=mask)
    on_right = np.concatenate([[False], centres < centres[:2].mean()])[components]
    return LungPair(right=on_right, left=mask & ~on_right)


def _mean_column(region: np.ndarray) -> float:
    across = region.sum(0)
    return float((across * np.arange(len(across))).sum() / across.sum()) + 0.5


def _cut_of(piece: np.ndarray) -> int | None:
    """First column of the left lung in a piece bool [H, W] that contains both lungs; None if it is a single lung."""
    columns, rows = np.flatnonzero(piece.any(0)), np.flatnonzero(piece.any(1))
    width, height = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
    if width < PAIR_ASPECT * height or width < 3:
        return None
    start, stop = columns[0] + width // 3, columns[0] + width - width // 3
    return int(start + piece.sum(0)[start:stop].argmin())


def centroid_xy(region: np.ndarray) -> tuple[float, float] | None:
    """Mean pixel position of a region bool [H, W], x before y, as fractions of width and height; None if it is empty."""
    across, down = region.sum(0), region.sum(1)
    area, (height, width) = int(across.sum()), region.shape
    if not area:
        return None
    x, y = (float((counts * (np.arange(len(counts)) + 0.5)).sum() / area) for counts in (across, down))
    return x / width, y / height


def rim_length(region: np.ndarray) -> int:
    """Number of pixels of a region bool [H, W] with a 4-neighbour outside the region; the area beyond the image is outside."""
    inner = region[1:-1, 1:-1] & region[:-2, 1:-1] & region[2:, 1:-1] & region[1:-1, :-2] & region[1:-1, 2:]
    return int(np.count_nonzero(region) - np.count_nonzero(inner))
