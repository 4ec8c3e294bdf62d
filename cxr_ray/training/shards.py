"""A validation split in shards, of which each worker validates one."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Shard(Protocol):
    """What a worker found out about its shard."""

    @property
    def positions(self) -> np.ndarray:
        """int64 [n], positions within the split."""


def positions_of(shards: Sequence[Shard], count: int, what: str = "images") -> np.ndarray:
    """Positions of all shards, one after the other, int64 [count].

    Args:
        shards: what each worker found out.
        count: number of images, or pairs, in the split.
        what: name of what the split holds, for the error.

    Raises:
        ValueError: if the shards together do not hold every position of the split once.
    """
    positions = np.concatenate([shard.positions for shard in shards])
    if not np.array_equal(np.sort(positions), np.arange(count)):
        raise ValueError(f"{len(positions)} {what} were validated, the split has {count}")
    return positions
