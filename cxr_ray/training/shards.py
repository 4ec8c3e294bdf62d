"""Shards of a validation split; each worker validates one shard."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Shard(Protocol):
    """Validation result of one worker's shard."""

    @property
    def positions(self) -> np.ndarray:
        """int64 [n], positions of the shard's images within the split."""


def positions_of(shards: Sequence[Shard], count: int, what: str = "images") -> np.ndarray:
    """Concatenate the positions of all shards, int64 [count], and check that they are the whole split.

    Args:
        shards: validation results of all workers.
        count: number of images, or pairs, in the split.
        what: noun for the images or pairs in the error.

    Raises:
        ValueError: if the shards together do not hold every position of the split exactly once.
    """
    positions = np.concatenate([shard.positions for shard in shards])
    if not np.array_equal(np.sort(positions), np.arange(count)):
        raise ValueError(
            f"{len(positions)} {what} were validated, the split has {count}; each must be validated exactly once"
        )
    return positions
