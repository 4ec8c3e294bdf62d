"""Splits that are stratified by class, keep groups whole, and depend on seed and content alone."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from cxr_ray.schema import SPLITS


def assign_splits(
    labels: Sequence[str],
    groups: Sequence[int],
    contents: Sequence[str],
    *,
    shares: tuple[float, float, float],
    seed: int,
) -> list[str]:
    """Split of every image: no group is parted, every class is shared out as `shares` says as nearly as groups allow.

    Groups are dealt largest first, those of one size in an order drawn by `seed`, each to the split that lacks most
    of the group's classes. The order of the arguments does not matter: a group is known by the content of its images.

    Args:
        labels: class of each image.
        groups: group number of each image.
        contents: content hash of each image.
        shares: of train, val and test; they sum to 1.
        seed: another seed, another split.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    names = {g: min(contents[p] for p in positions) for g, positions in members.items()}
    order = sorted(members, key=lambda g: (-len(members[g]), _draw(names[g], seed)))
    totals = Counter(labels)
    lacking = {
        (split, label): share * n for split, share in zip(SPLITS, shares, strict=True) for label, n in totals.items()
    }
    chosen = [""] * len(labels)
    for group in order:
        classes = Counter(sorted(labels[p] for p in members[group]))  # sorted, so that sums round alike
        # Relative need, so that a rare class weighs as much as a common one.
        split = max(SPLITS, key=lambda s: sum(n * lacking[s, label] / totals[label] for label, n in classes.items()))
        for label, n in classes.items():
            lacking[split, label] -= n
        for position in members[group]:
            chosen[position] = split
    return chosen


def _draw(content: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{content}".encode()).digest()
