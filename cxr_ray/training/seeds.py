"""Seeds of a training: every epoch draws all its randomness from the seed of the config and its own number.

A training that starts again therefore repeats what it would have drawn.
"""

import numpy as np
import torch


def seed_epoch(seed: int, epoch: int, rank: int) -> torch.Generator:
    """Seed torch for one epoch of one worker; a generator, on the CPU, for the random views of the epoch."""
    torch.manual_seed(seed_of(seed, epoch, rank))
    return torch.Generator().manual_seed(seed_of(seed, epoch, rank, 1))


def seed_of(*parts: int) -> int:
    """A seed that other parts do not give."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
