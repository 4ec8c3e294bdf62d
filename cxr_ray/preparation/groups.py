"""Group images that must be in the same split because they are connected: by equal content, as copies, or by their patient."""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


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
