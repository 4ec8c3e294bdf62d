import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.training.classifier.class_balance import class_weights


@given(st.lists(st.integers(1, 500), min_size=2, max_size=6), st.floats(0, 2))
def test_weights_average_to_one_over_the_images(counts, power):
    targets = np.repeat(np.arange(len(counts)), counts)
    weights = class_weights(targets, len(counts), power)
    assert weights[targets].mean() == pytest.approx(1)
    order = np.argsort(counts)
    assert np.all(np.diff(weights[order]) <= 1e-12)


def test_power_one_gives_every_class_the_same_sum_and_zero_every_image_the_same_weight():
    targets = np.repeat([0, 1, 2], [70, 20, 10])
    weights = class_weights(targets, 3, 1.0)
    np.testing.assert_allclose(weights * [70, 20, 10], 100 / 3)
    np.testing.assert_allclose(class_weights(targets, 3, 0.0), 1)
