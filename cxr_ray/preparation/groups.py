"""Group images that must be in the same split: exact and near duplicates, and images of one patient."""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROWS_AT_ONCE = 2048


def near_duplicate_pairs(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """Find the pairs of perceptual hashes that differ in at most `max_distance` bits.

    The search is exact and compares all pairs by matrix products of vectors of -1 and 1. Its time grows with the
    square of N: seconds for 20,000 images, minutes for 200,000.

    Args:
        hashes: bool [N, bits].
        max_distance: maximum number of differing bits.

    Returns:
        int64 [P, 2], indexes of the two hashes; each pair occurs once, the smaller index first.
    """
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    bits = hashes.shape[1]
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(signs), ROWS_AT_ONCE):
        # distance = (bits - dot) / 2
        close = signs[start : start + ROWS_AT_ONCE] @ signs[start:].T >= bits - 2 * max_distance
        rows, columns = np.nonzero(np.triu(close, k=1))
        found.append(np.stack([rows + start, columns + start], axis=1))
    return np.concatenate(found)


def equal_pairs(values: Sequence[Hashable | None]) -> np.ndarray:
    """Pairs of positions, int64 [P, 2], that connect all positions with an equal value; None is equal to nothing."""
    first: dict[Hashable, int] = {}
    pairs = [(first.setdefault(v, i), i) for i, v in enumerate(values) if v is not None]
    return np.array([p for p in pairs if p[0] != p[1]], np.int64).reshape(-1, 2)


def group_by_pairs(count: int, *pair_lists: np.ndarray) -> np.ndarray:
    """Group numbers, int [count], of `count` items; items that are connected by pairs int64 [P, 2] have the same number."""
    pairs = np.concatenate([np.empty((0, 2), np.int64), *pair_lists])
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])
