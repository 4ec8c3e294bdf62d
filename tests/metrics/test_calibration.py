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


def test_a_model_that_is_always_right_keeps_a_finite_temperature():
    logits = np.eye(4, dtype=np.float32).repeat(5, 0) * 10
    assert 0 < fit_temperature(logits, np.arange(4).repeat(5)) < 1


@pytest.mark.parametrize(("of_truth", "temperature"), [(0.1, np.exp(-3)), (-10, np.exp(3))])
def test_the_temperature_stays_within_its_bounds(of_truth, temperature):
    """A model that is always right could be surer without limit, and one that is always wrong less sure."""
    logits = of_truth * np.eye(4, dtype=np.float32)
    assert fit_temperature(logits, np.arange(4)) == pytest.approx(temperature, rel=0.01)
