"""Rates in images per second are computed from timestamps and from calls of a model."""

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.benchmarks.rates import forward_rate, steady_rate
from cxr_ray.schema import TIMESTAMP


def test_the_steady_rate_leaves_out_the_start():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    slow = [start + timedelta(seconds=60 * i) for i in range(10) for _ in range(10)]
    fast = [slow[-1] + timedelta(seconds=i + 1) for i in range(90) for _ in range(10)]
    rate = steady_rate(pa.chunked_array([pa.array(slow + fast, TIMESTAMP)]))
    assert rate == pytest.approx(10, rel=1e-6)


def test_the_forward_rate_counts_images_and_not_the_warm_up():
    calls = []

    def predict(batch):
        calls.append(len(batch))
        time.sleep(0.3 if len(calls) == 1 else 0.01 * len(batch))

    rate = forward_rate(predict, np.zeros((25, 2, 2), np.uint8), batch_size=10)
    assert calls == [10, 10, 10, 5]
    assert 60 < rate <= 100
