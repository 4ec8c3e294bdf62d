"""Assign splits that are stratified by class, keep groups together, and depend only on the seed and the content."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from cxr_ray.schema import SPLITS


def assign_splits(
    labels: Sequence[str | tuple[str, ...]],
    groups: Sequence[int],
    contents: Sequence[str],
    *,
    fractions: tuple[float, float, float],
    seed: int,
) -> list[str]:
    """Assign a split to every image; groups stay together, and each class comes as close to `fractions` as they allow.

    Groups are assigned from the largest to the smallest, those of one size in an order drawn by `seed`, each to the
    split that lacks most images of the group's classes. The order of the images does not change the result.

    Args:
        labels: class of each image, or the findings of each image.
        groups: group number of each image.
        contents: content hash of each image.
        fractions: fractions of train, val and test, which sum to 1.
        seed: seed of the order of groups of one size.

    Returns:
        `train`, `val` or `test` for each image, in order.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    names = {g: min(contents[p] for p in positions) for g, positions in members.items()}
    order = sorted(members, key=lambda g: (-len(members[g]), _draw(names[g], seed)))
    kinds = [(label,) if isinstance(label, str) else label for label in labels]
    totals = Counter(kind for of_image in kinds for kind in of_image)
    lacking = {
        (split, label): fraction * n
        for split, fraction in zip(SPLITS, fractions, strict=True)
        for label, n in totals.items()
    }
    chosen = [""] * len(labels)
    for group in order:
        classes = Counter(
            sorted(kind for p in members[group] for kind in kinds[p])
        )  # sorted, so that sums are rounded alike in any order
        # The need is relative to the class, so that a rare class weighs as much as a common one.
        split = max(SPLITS, key=lambda s: sum(n * lacking[s, label] / totals[label] for label, n in classes.items()))
        for label, n in classes.items():
            lacking[split, label] -= n
        for position in members[group]:
            chosen[position] = split
    return chosen


def _draw(content: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{content}".encode()).digest()
