import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from cxr_ray.metrics.calibration import (
    before_temperature,
    calibration_metrics,
    fit_temperature,
)


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


@pytest.fixture
def overconfident():
    """The true classes and probabilities of 400 images; the confidence is higher than the accuracy."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(400, 3))
    truth = np.array([generator.choice(3, p=row) for row in softmax(logits, axis=1)])
    return truth, softmax(3 * logits, axis=1)


def test_probabilities_before_temperature_are_those_of_the_logits():
    logits = np.random.default_rng(0).normal(size=(50, 4)) * 5
    calibrated = softmax(logits / 1.7, axis=1)

    assert before_temperature(calibrated, 1.7) == pytest.approx(softmax(logits, axis=1))
    assert before_temperature(np.array([[1.0, 0.0]]), 2.0) == pytest.approx(np.array([[1.0, 0.0]]), abs=1e-30)


def test_calibration_agrees_with_scikit_learn(overconfident):
    truth, probabilities = overconfident
    metrics = calibration_metrics(truth, probabilities)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    accuracies, confidences = calibration_curve(right, confidence, n_bins=15)

    bins = metrics["reliability"]
    assert [row["accuracy"] for row in bins] == pytest.approx(accuracies)
    assert [row["confidence"] for row in bins] == pytest.approx(confidences)
    counts = np.histogram(confidence, bins=15, range=(0, 1))[0]
    assert [row["n"] for row in bins] == counts[counts > 0].tolist()
    assert metrics["ece"] == pytest.approx((counts[counts > 0] * abs(accuracies - confidences)).sum() / 400)
    assert metrics["log_loss"] == pytest.approx(log_loss(truth, probabilities, labels=range(3)))
    assert metrics["mean_confidence"] - metrics["accuracy"] > 0.1
    assert all(row["interval"][0] <= row["accuracy"] <= row["interval"][1] for row in bins)
