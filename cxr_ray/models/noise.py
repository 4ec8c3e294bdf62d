"""Standard normal noise of each image, which depends on its id and a seed, not on its batch or its worker."""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from hashlib import sha256

import torch

COUNTED_ON = frozenset({"cuda"})
"""Kinds of devices that compute their noise by `counted_noise`; a CPU draws it in a third of the time by torch."""
STEP = -0x61C8864680B583EB
"""2^64 over the golden ratio as int64: the distance of the states of SplitMix64."""
FACTORS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
"""Factors of SplitMix64's finaliser, 0xBF58476D1CE4E5B9 and 0x94D049BB133111EB, as int64."""


class Noise:
    """The noise of a batch of images on one device, one draw after the other.

    On a CPU each image has a generator of torch. On a GPU each value is a function of the image's seed and its number, so
    that it is computed there, and every GPU computes the same.

    Args:
        image_ids: B ids; images with the same id get the same noise.
        seed: seed, combined with the ids.
        device: device of the noise.
        pool: threads that draw on a CPU.
    """

    def __init__(self, image_ids: Sequence[str], seed: int, device: torch.device, pool: Executor) -> None:
        self._device, self._pool = device, pool
        self._counted, self._drawn = device.type in COUNTED_ON, 0
        self._generators = [noise_generator(image_id, seed) for image_id in image_ids]
        self._seeds = torch.tensor([generator.initial_seed() for generator in self._generators], device=device)

    def draw(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw the next noise of every image, float32 [B, *shape]."""
        if self._counted:
            count, begin = math.prod(shape), self._drawn
            self._drawn += count + count % 2
            return counted_noise(self._seeds, begin, count).view(-1, *shape)
        noise = torch.empty(len(self._generators), *shape)
        list(self._pool.map(lambda one, rows: torch.randn(shape, generator=one, out=rows), self._generators, noise))
        return noise.to(self._device)


def noise_generator(image_id: str, seed: int) -> torch.Generator:
    """Random generator of the noise of one image, on the CPU."""
    digest = sha256(f"{seed}:{image_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def counted_noise(seeds: torch.Tensor, begin: int, count: int) -> torch.Tensor:
    """The standard normal values `begin` to `begin + count` of each seed, float32 [B, count], on the device of the seeds.

    Pairs of values are the Box-Muller transform of 24 bits each of SplitMix64 (Steele, Lea, Flood: Fast splittable
    pseudorandom number generators, 2014) at the state seed + STEP * number of the pair. The values end at 5.9.

    Args:
        seeds: int64 [B].
        begin: number of the first value, even.
        count: number of values.
    """
    numbers = torch.arange(begin // 2, begin // 2 + (count + 1) // 2, device=seeds.device)
    bits = _mixed(numbers * STEP + seeds.unsqueeze(1))
    radius = ((_shifted(bits, 40) + 0.5) * 2**-24).log().mul(-2).sqrt()
    angle = (_shifted(bits, 16) & 0xFFFFFF) * (2 * math.pi * 2**-24)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(1)[:, :count].float()


def _mixed(state: torch.Tensor) -> torch.Tensor:
    """The finaliser of SplitMix64; products wrap around, as int64 does."""
    state = (state ^ _shifted(state, 30)) * FACTORS[0]
    state = (state ^ _shifted(state, 27)) * FACTORS[1]
    return state ^ _shifted(state, 31)


def _shifted(bits: torch.Tensor, by: int) -> torch.Tensor:
    """Shift int64 to the right as if it had no sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
