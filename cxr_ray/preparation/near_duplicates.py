"""Group near duplicates among many perceptual hashes: exactly, and without comparing all pairs."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

PAIRS_AT_ONCE = 2**20
"""Number of pairs whose distances are computed together, which bounds the memory."""
ROWS_AT_ONCE = 1024
"""Number of rows that are compared with all others together where all pairs are compared."""
MOST_LEFT_OUT = 2
"""Maximum number of bits that keys leave out of a band; with more there would be too many keys."""
PAIRS_TRIED = 2**26
"""Maximum number of pairs that are compared before a plan is chosen."""
KEYS_TRIED = 3
"""Number of keys by which the pairs of a plan are estimated."""
WORTH_JOINING = 50
"""Neighbours are joined again as long as this fraction of them, one in so many, was joined."""
SECONDS_PER_ROW, SECONDS_PER_PAIR, SECONDS_PER_PRODUCT = 8e-8, 3e-8, 1e-8
"""Measured seconds of a key for each row, and for each pair that is compared, one by one or by a matrix product."""
_PLACE = np.uint64(0xFFFF_FFFF)
_FACTORS = np.random.default_rng(0).integers(2**63, 2**64, 64, np.uint64) | np.uint64(1)


def near_duplicate_groups(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """Group the hashes that are connected by pairs which differ in at most `max_distance` bits.

    The bits are dealt out to bands. Two hashes within the distance differ in at most `max_distance // bands` bits in one
    of the bands (pigeonhole principle), so that they are equal in one of the keys which leave so many bits of a band
    out. Only hashes with an equal key are compared, and only if they are not in one group yet: many copies of one image
    cost no more than other images. The number of left out bits is chosen by the number of pairs with equal keys; where
    that would cost more than comparing all pairs, all pairs are compared.

    Args:
        hashes: uint64 [N, words], with N < 2**32.
        max_distance: maximum number of differing bits.

    Returns:
        int64 [N], for each hash the index of the first hash of its group.
    """
    groups = _Groups(hashes.T)
    if len(hashes) < 2:
        return groups.names
    _link_sorted_neighbours(groups, max_distance)
    keys = _cheapest_keys(groups, max_distance)
    if keys is None:
        _compare_all(groups, max_distance)
    else:
        for mask in keys:
            _compare(groups, _joined_buckets(groups, mask, max_distance), max_distance)
    return groups.names


class _Groups:
    """Hashes with the groups that were found so far; a group has the name of its first hash."""

    def __init__(self, columns: np.ndarray) -> None:
        self.columns = np.ascontiguousarray(columns)
        """Uint64 [words, N]."""
        self.names = np.arange(columns.shape[1])
        """Int64 [N], the name of the group of each hash."""
        self._order: np.ndarray | None = None

    @property
    def order(self) -> np.ndarray:
        """Indexes int64 [N] of the hashes, those of one group next to each other."""
        if self._order is None:
            self._order = np.argsort(self.names, kind="stable")
        return self._order

    def join(self, left: np.ndarray, right: np.ndarray) -> int:
        """Join the groups of hashes left[i] and right[i]; return how many groups fewer there are."""
        ends = np.stack([self.names[left], self.names[right]])
        ends = ends[:, ends[0] != ends[1]]
        if not ends.size:
            return 0
        names, (one, other) = np.unique(ends, return_inverse=True)
        graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(names), len(names)))
        count, joined = connected_components(graph, directed=False)
        renamed = np.arange(len(self.names))
        renamed[names] = names[np.unique(joined, return_index=True)[1]][
            joined
        ]  # names are sorted, so the first is least
        self.names, self._order = renamed[self.names], None
        return len(names) - int(count)


class _Buckets:
    """The hashes in the order of a key; hashes of equal keys form a bucket, and those of one group a run within it.

    Buckets of a single run are left out. All arrays are int64 [R].
    """

    def __init__(self, groups: _Groups, mask: np.ndarray) -> None:
        order = groups.order
        packed = _keys(groups.columns, mask)[order] << np.uint64(32)
        packed |= np.arange(len(order), dtype=np.uint64)
        packed.sort()
        rows, keys = order[packed & _PLACE], packed >> np.uint64(32)
        is_bucket = np.append(True, keys[1:] != keys[:-1])
        is_run = is_bucket | np.append(True, groups.names[rows][1:] != groups.names[rows][:-1])
        sizes = np.diff(np.append(np.flatnonzero(is_bucket), len(rows)))
        is_mixed = np.repeat(np.add.reduceat(is_run.astype(np.int64), np.flatnonzero(is_bucket)) > 1, sizes)
        self.rows = rows[is_mixed]
        """Index of each hash."""
        self.run_starts = np.flatnonzero(is_run[is_mixed])
        ends = _ends(is_run[is_mixed])
        self.run_ends = ends
        """First position behind the run of each hash."""
        self.counts = _ends(is_bucket[is_mixed]) - ends
        """Number of hashes behind the run of each hash in its bucket, with which the hash is to be compared."""

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions int64 [P], [P] of hashes with an equal key in different groups, each pair once."""
        before = np.append(0, np.cumsum(self.counts))
        start = 0
        while start < len(self.counts):
            stop = max(start + 1, int(np.searchsorted(before, before[start] + PAIRS_AT_ONCE, side="right")) - 1)
            counts = self.counts[start:stop]
            left = np.repeat(np.arange(start, stop), counts)
            first = np.repeat(self.run_ends[start:stop] - (before[start:stop] - before[start]), counts)
            yield left, first + np.arange(len(left))
            start = stop


def _ends(is_start: np.ndarray) -> np.ndarray:
    """For each position, the first position behind its run; runs begin where `is_start`."""
    bounds = np.append(np.flatnonzero(is_start), len(is_start))
    return np.repeat(bounds[1:], np.diff(bounds))


def _keys(columns: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Keys uint64 [N] below 2**32, equal for hashes whose bits in `mask` are equal, and rarely for others."""
    mixed = np.zeros(columns.shape[1], np.uint64)
    for column, bits, factor in zip(columns, mask, _FACTORS, strict=False):
        if bits:
            mixed += (column & bits) * factor
    return mixed >> np.uint64(32)


def _link_sorted_neighbours(groups: _Groups, max_distance: int) -> None:
    """Join hashes that follow each other in the order of their bits: all equal ones, and most of a crowd of copies."""
    order = np.lexsort(groups.columns)
    left, right = order[:-1], order[1:]
    near = _distances(groups.columns, left, right) <= max_distance
    groups.join(left[near], right[near])


def _cheapest_keys(groups: _Groups, max_distance: int) -> list[np.ndarray] | None:
    """Masks of the keys that find all pairs in the shortest time; None if comparing all pairs is faster."""
    words, count = groups.columns.shape
    least, best = SECONDS_PER_PRODUCT * count**2 / 2, None
    for left_out in range(MOST_LEFT_OUT + 1):
        if key_count(words * 64, max_distance, left_out) * count * SECONDS_PER_ROW >= least:
            continue
        masks = key_masks(words * 64, max_distance, left_out)
        tried = masks[:: max(1, len(masks) // KEYS_TRIED)][:KEYS_TRIED]
        pairs = float(np.median([_try_key(groups, mask, max_distance) for mask in tried]))
        seconds = len(masks) * (count * SECONDS_PER_ROW + pairs * SECONDS_PER_PAIR)
        if seconds < least:
            least, best = seconds, masks
    return best


def _try_key(groups: _Groups, mask: np.ndarray, max_distance: int) -> int:
    """Number of pairs that a key compares; if there are few, they are compared, so that the next key has no crowd to join."""
    buckets = _joined_buckets(groups, mask, max_distance)
    pairs = int(buckets.counts.sum())
    if pairs <= PAIRS_TRIED:
        _compare(groups, buckets, max_distance)
    return pairs


def key_count(bits: int, max_distance: int, left_out: int) -> int:
    """Number of masks that `key_masks` returns for the same arguments."""
    bands = max_distance // (left_out + 1) + 1
    return sum(comb(len(range(band, bits, bands)), left_out) for band in range(bands))


def key_masks(bits: int, max_distance: int, left_out: int) -> list[np.ndarray]:
    """Masks such that any two hashes within `max_distance` are equal in the bits of one of them.

    Args:
        bits: number of bits of a hash, a multiple of 64.
        max_distance: maximum number of differing bits.
        left_out: number of bits of a band that a mask leaves out.

    Returns:
        Arrays uint64 [bits // 64].
    """
    bands = max_distance // (left_out + 1) + 1
    masks = []
    for band in range(bands):
        places = range(band, bits, bands)  # neighbouring bits are alike, so they go to different bands
        for without in combinations(places, left_out):
            chosen = np.zeros(bits, bool)
            chosen[band::bands] = True
            chosen[list(without)] = False
            masks.append(np.packbits(chosen).view(np.uint64))
    return masks


def _joined_buckets(groups: _Groups, mask: np.ndarray, max_distance: int) -> _Buckets:
    """Make the buckets of a key; where they have many pairs, neighbours are joined first, so that a crowd becomes one run."""
    buckets = _Buckets(groups, mask)
    while buckets.counts.sum() > PAIRS_AT_ONCE:
        heads = buckets.run_starts[buckets.counts[buckets.run_starts] > 0]
        left, right = buckets.rows[heads], buckets.rows[buckets.run_ends[heads]]
        near = _distances(groups.columns, left, right) <= max_distance
        joined = groups.join(left[near], right[near])
        if joined:
            buckets = _Buckets(groups, mask)
        if joined * WORTH_JOINING < len(heads):
            break
    return buckets


def _compare(groups: _Groups, buckets: _Buckets, max_distance: int) -> None:
    """Compare the hashes of each bucket, and join the groups of those within the distance."""
    columns = groups.columns[:, buckets.rows]
    for left, right in buckets.pairs():
        near = _near(columns, left, right, max_distance)
        groups.join(buckets.rows[left[near]], buckets.rows[right[near]])


def _near(columns: np.ndarray, left: np.ndarray, right: np.ndarray, max_distance: int) -> np.ndarray:
    """Positions int64 of the pairs within the distance; half of the words suffice to rule most pairs out."""
    half = (len(columns) + 1) // 2
    maybe = np.flatnonzero(_distances(columns[:half], left, right) <= max_distance)
    return maybe[_distances(columns, left[maybe], right[maybe]) <= max_distance]


def _distances(columns: Sequence[np.ndarray] | np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Numbers of differing bits uint16 [P] between hashes left[i] and right[i]."""
    total = np.zeros(len(left), np.uint16)
    for column in columns:
        total += np.bitwise_count(column[left] ^ column[right])
    return total


def _compare_all(groups: _Groups, max_distance: int) -> None:
    """Compare all pairs by matrix products of vectors of -1 and 1, whose time grows with the square of N."""
    rows = np.ascontiguousarray(groups.columns.T).view(np.uint8)
    bits = rows.shape[1] * 8

    def signs(start: int) -> np.ndarray:
        unpacked = np.unpackbits(rows[start : start + ROWS_AT_ONCE], axis=1)
        return unpacked.astype(np.float32) * 2 - 1

    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = signs(start)
        for other in range(start, len(rows), ROWS_AT_ONCE):
            near = block @ signs(other).T >= bits - 2 * max_distance  # distance = (bits - dot) / 2
            left, right = np.nonzero(near)
            groups.join(left + start, right + other)
