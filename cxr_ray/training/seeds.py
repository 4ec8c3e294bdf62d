"""Random seeds of a training, derived from the seed of the config and the number of the epoch.

A resumed training therefore draws the same random numbers as a training without interruption.
"""

import numpy as np
import torch


def seed_epoch(seed: int, epoch: int, rank: int) -> torch.Generator:
    """Seed torch for one epoch of one worker, and return a generator on the CPU for the random views of that epoch."""
    torch.manual_seed(seed_of(seed, epoch, rank))
    return torch.Generator().manual_seed(seed_of(seed, epoch, rank, 1))


def seed_of(*parts: int) -> int:
    """Derive a seed, 0 to 2**32 - 1, from integers >= 0; their values and their order matter, but not zeros at the end."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
