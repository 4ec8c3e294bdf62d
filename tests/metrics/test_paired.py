import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss

from cxr_ray.metrics.paired import BINS, ece_terms, paired_metrics


def drawn(n, k=3, seed=0):
    """True classes, and probabilities that know something of them."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, k, n)
    logits = random.normal(0, 1, (n, k)) + 1.5 * np.eye(k)[truth]
    probabilities = np.exp(logits)
    return truth, probabilities / probabilities.sum(1, keepdims=True)


def shaken(probabilities, scale, seed=1):
    moved = probabilities * np.exp(np.random.default_rng(seed).normal(0, scale, probabilities.shape))
    return moved / moved.sum(1, keepdims=True)


def compared(truth, first, second, groups=None, **options):
    groups = np.arange(len(truth)) if groups is None else groups
    return paired_metrics(truth, {"old": first, "new": second}, groups, **options)


def test_values_are_those_of_scikit_learn():
    truth, old = drawn(400)
    new = shaken(old, 0.3)
    found = compared(truth, old, new)
    for name, probs in (("old", old), ("new", new)):
        assert found["accuracy"][name] == pytest.approx(accuracy_score(truth, probs.argmax(1)))
        assert found["brier"][name] == pytest.approx(brier_score_loss(truth, probs, labels=range(3)))
    assert found["accuracy"]["difference"] == pytest.approx(found["accuracy"]["new"] - found["accuracy"]["old"])
    assert found["agreement"] == np.mean(old.argmax(1) == new.argmax(1))
    assert found["max_difference"] == np.abs(old - new).max() > found["mean_difference"] > 0
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_calibration_error_is_that_of_its_definition():
    truth, probs = drawn(500)
    confidence, right = probs.max(1), probs.argmax(1) == truth
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence >= low) & (confidence < low + 1 / BINS)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert np.abs(ece_terms(truth, probs).sum(0)).sum() / 500 == pytest.approx(expected)
    assert compared(truth, probs, probs)["ece"]["old"] == pytest.approx(expected)


def test_a_sure_and_right_classifier_has_no_error_and_a_sure_and_wrong_one_has_all():
    truth = np.array([0, 1, 1])
    right = np.eye(2)[truth]
    found = compared(truth, right, 1 - right)
    assert [found[name]["old"] for name in ("accuracy", "brier", "ece")] == [1, 0, 0]
    assert [found[name]["new"] for name in ("accuracy", "brier", "ece")] == [0, 2, 1]
    assert found["accuracy"]["difference_interval"] == [-1, -1]
    assert (found["agreement"], found["agreement_interval"]) == (0, [0, 0])


def test_the_pairs_make_the_interval_narrow():
    truth, old = drawn(600)
    near, far = shaken(old, 0.05), drawn(600, seed=0)[1][::-1]
    close = compared(truth, old, near)["accuracy"]["difference_interval"]
    apart = compared(truth, old, far)["accuracy"]["difference_interval"]
    assert close[0] <= 0 <= close[1]
    assert close[1] - close[0] < 0.2 * (apart[1] - apart[0])
    same = compared(truth, old, old)
    assert same["accuracy"]["difference_interval"] == same["brier"]["difference_interval"] == [0, 0]


def test_images_of_one_patient_are_drawn_together():
    truth, old = drawn(200)
    new = shaken(old, 0.8)
    alone = compared(truth, old, new)
    ten = [np.repeat(values, 10, axis=0) for values in (truth, old, new)]
    repeated = compared(*ten, groups=np.repeat(np.arange(200), 10))
    assert (alone["n_groups"], repeated["n_groups"], repeated["n_images"]) == (200, 200, 2000)
    assert repeated["accuracy"]["difference_interval"] == alone["accuracy"]["difference_interval"]
    low, high = compared(*ten)["accuracy"]["difference_interval"]
    wide = alone["accuracy"]["difference_interval"]
    assert high - low < 0.5 * (wide[1] - wide[0]), "ten independent images say more than ten of one patient"


def test_the_interval_has_the_width_of_the_binomial_distribution():
    truth = np.zeros(1000, np.int64)
    probs = np.where(np.arange(1000)[:, None] % 5 == 0, [[0.4, 0.6]], [[0.6, 0.4]])
    always = np.tile([[0.6, 0.4]], (1000, 1))
    low, high = compared(truth, probs, always)["accuracy"]["difference_interval"]
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(0.2 * 0.8 / 1000), rel=0.1)
    again = compared(truth, probs, always, seed=7)["accuracy"]["difference_interval"]
    assert again != [low, high]
    assert compared(truth, probs, always, seed=7)["accuracy"]["difference_interval"] == again
