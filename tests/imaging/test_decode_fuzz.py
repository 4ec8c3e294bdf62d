"""Thousands of damaged files: each gives pixels or an error kind, and the process lives.

They are decoded in a child process: a native decoder that crashes fails a test and does not end pytest.
"""

import multiprocessing
import random
from collections import Counter

import numpy as np
import pytest

from cxr_ray.imaging import reduced_scale
from cxr_ray.imaging.decode import DecodeLimits, decode_image
from cxr_ray.imaging.limits import ErrorKind
from tests.imaging.originals import mutate, originals

MUTANTS = 200  # damaged files per original
LIMITS = DecodeLimits(max_megapixels=4)


def decode_mutants(files, seed, connection):
    reduced_scale.MIN_WANTED = 1  # in this process, so that small JPEGs are reduced like large ones
    rng = random.Random(seed)
    outcomes = Counter()
    for data in files:
        for _ in range(MUTANTS):
            result = decode_image(mutate(data, rng), limits=LIMITS, wanted_size=rng.choice([None, 16]))
            is_image = result.pixels is not None
            assert is_image == (result.error_kind is None) == (result.error is None)
            assert not is_image or (result.pixels.dtype == np.uint8 and result.pixels.ndim == 2)
            assert is_image or (result.error_kind in set(ErrorKind) and "\n" not in result.error)
            outcomes[result.error_kind] += 1
    connection.send(outcomes)


@pytest.mark.slow
def test_damaged_files_give_pixels_or_an_error_kind():
    files = list(originals().values())
    assert [decode_image(data).error for data in files] == [None] * len(files)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=decode_mutants, args=(files, 20, sender))
    child.start()
    sender.close()
    child.join(120)
    assert child.exitcode == 0
    outcomes = receiver.recv()
    assert outcomes.total() == MUTANTS * len(files) >= 2_000
    assert {None, "unreadable", "truncated", "too_large", "unsupported"} <= outcomes.keys()
