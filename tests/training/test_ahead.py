import itertools
import threading

import numpy as np
import pytest
import torch

from cxr_ray.training.ahead import ahead, in_advance
from cxr_ray.training.batch import Batch


def numbered(count, taken=None):
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield Batch(np.array([number]), np.full((1, 2, 2), number, np.uint8))


def test_batches_come_in_order_as_tensors():
    batches = list(in_advance(numbered(7)))
    assert [int(batch.positions[0]) for batch in batches] == list(range(7))
    assert all(batch.pixels.dtype == torch.uint8 and int(batch.pixels[0, 0, 0]) == n for n, batch in enumerate(batches))
    assert list(in_advance(numbered(0))) == []


def test_one_batch_is_taken_ahead_and_no_thread_is_left_behind():
    taken, before = [], threading.active_count()
    batches = in_advance(numbered(100, taken))
    assert len(list(itertools.islice(batches, 3))) == 3
    batches.close()
    assert 3 <= len(taken) <= 4
    assert threading.active_count() == before


def test_an_error_is_raised_at_its_place():
    def broken():
        yield from numbered(2)
        raise OSError("gone")

    batches = in_advance(broken())
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_a_cpu_takes_its_batches_itself():
    batches = numbered(1)
    assert ahead(batches, torch.device("cpu")) is batches


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pixels_for_a_gpu_are_pinned():
    (batch,) = ahead(numbered(1), torch.device("cuda"))
    assert batch.pixels.is_pinned()
