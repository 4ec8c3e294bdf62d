import numpy as np
import pytest

from cxr_ray.metrics.calibration import fit_temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 4)).astype(np.float32)
    probabilities = np.exp(logits / temperature)
    probabilities /= probabilities.sum(1, keepdims=True)
    truth = (probabilities.cumsum(1) > rng.random((len(logits), 1))).argmax(1)
    assert fit_temperature(logits, truth) == pytest.approx(temperature, rel=0.05)


def test_a_model_that_is_always_right_keeps_its_probabilities():
    logits = np.eye(4, dtype=np.float32).repeat(5, 0) * 10
    assert fit_temperature(logits, np.arange(4).repeat(5)) == 1
    few = np.stack([np.random.default_rng(0).uniform(0.3, 0.6, 5), np.zeros(5)], 1).astype(np.float32)
    assert fit_temperature(few, np.zeros(5, np.int64)) == 1, "five images of one class"


def test_a_model_that_is_always_wrong_or_almost_always_right_keeps_its_probabilities():
    """Its loss falls up to a bound of the search, which says nothing of how sure it should be."""
    assert fit_temperature(-10 * np.eye(4, dtype=np.float32), np.arange(4)) == 1
    logits = np.concatenate([np.full((999, 1), 1e-3), np.full((1, 1), -1e-6)]) * np.array([[1, 0]])
    assert fit_temperature(logits.astype(np.float32), np.zeros(1000, np.int64)) == 1
