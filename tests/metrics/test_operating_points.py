import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from cxr_ray.metrics.operating_points import choose_thresholds, figures_at

POSITIVE = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
SCORE = np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.4, 0.2, 0.1, 0.1])


def test_thresholds_are_the_ones_found_by_trying_all():
    chosen = choose_thresholds(POSITIVE, SCORE, sensitivity=0.75, specificity=0.8)

    tried = {t: (recall_score(POSITIVE, t <= SCORE), recall_score(~POSITIVE, t > SCORE)) for t in SCORE}
    assert chosen["youden"]["threshold"] == max(tried, key=lambda t: (sum(tried[t]), t))
    assert chosen["sensitivity"]["threshold"] == max(t for t in tried if tried[t][0] >= 0.75)
    assert chosen["specificity"]["threshold"] == min(t for t in tried if tried[t][1] >= 0.8)
    for one in chosen.values():
        assert (one["sensitivity"], one["specificity"]) == pytest.approx(tried[one["threshold"]])


def test_a_specificity_of_1_may_call_nobody_positive():
    chosen = choose_thresholds(np.array([False, True]), np.array([0.9, 0.1]), sensitivity=0.5, specificity=1.0)

    assert chosen["specificity"]["threshold"] > 0.9
    assert np.isfinite(chosen["specificity"]["threshold"])
    nobody = figures_at(chosen["specificity"]["threshold"], np.array([False, True]), np.array([0.9, 0.1]), np.arange(2))
    assert (nobody["n_called"], nobody["ppv"], nobody["intervals"]["ppv"]) == (0, None, None)


def test_figures_are_those_of_scikit_learn():
    figures = figures_at(0.5, POSITIVE, SCORE, np.arange(10))

    called = SCORE >= 0.5
    assert figures["n_called"] == called.sum()
    assert figures["sensitivity"] == pytest.approx(recall_score(POSITIVE, called))
    assert figures["specificity"] == pytest.approx(recall_score(~POSITIVE, ~called))
    assert figures["ppv"] == pytest.approx(precision_score(POSITIVE, called))
    assert figures["npv"] == pytest.approx(precision_score(~POSITIVE, ~called))
    assert all(low <= figures[name] <= high for name, (low, high) in figures["intervals"].items())
