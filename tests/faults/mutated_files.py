"""Damage thousands of files and decode each in the fence: `python -m tests.faults.mutated_files --files 10000`.

The command prints how many files gave which kind of error, and the longest time of a file. It fails if a file gives
neither an image nor a kind of error, or takes longer than its limit.
"""

import argparse
import random
import time
from collections import Counter

import numpy as np

from cxr_ray.imaging.decoder_fence import DecoderFence
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind
from tests.imaging.originals import mutate, originals

LIMITS = DecodeLimits(max_megapixels=4, max_seconds=20)
GRACE_SECONDS = 2.0
"""Time to end a decoder that exceeds its limit, and to start another."""


def mutants(count, seed=0):
    """`count` damaged files by name, of all kinds of originals in turn; the same seed gives the same files."""
    rng, files = random.Random(seed), list(originals().items())
    return {f"{i:05} {files[i % len(files)][0]}": mutate(files[i % len(files)][1], rng) for i in range(count)}


def decode_all(files):
    """Decode each file by itself; the outcomes (None for an image) with their counts, and the longest seconds."""
    fence, outcomes, slowest = DecoderFence(), Counter(), 0.0
    for name, data in files.items():
        began = time.monotonic()
        (image,) = fence.images_of(fence.give(data, (), LIMITS))
        slowest = max(slowest, time.monotonic() - began)
        if image.pixels is None:
            assert image.error_kind in set(ErrorKind), name
            assert image.error, name
        else:
            assert (image.error_kind, image.pixels.dtype, image.pixels.ndim) == (None, np.uint8, 2), name
        outcomes[image.error_kind] += 1
    return outcomes, slowest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes, slowest = decode_all(mutants(arguments.files, arguments.seed))
    for kind, count in outcomes.most_common():
        print(f"{count:6,} {kind or 'image'}")
    print(f"{outcomes.total():6,} files, the slowest {slowest:.2f} s")
    assert slowest < LIMITS.max_seconds + GRACE_SECONDS


if __name__ == "__main__":
    main()
