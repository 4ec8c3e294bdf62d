import numpy as np
import pytest
from scipy.stats import chi2, false_discovery_control
from sklearn.metrics import accuracy_score, roc_auc_score

from cxr_ray.metrics.model_comparison import compare_models, compare_pair, holm, macro_auroc_difference, mcnemar


def probabilities(seed: int, truth: np.ndarray, strength: float) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(len(truth), 3))
    logits[np.arange(len(truth)), truth] += strength
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


TRUTH = np.arange(300) % 3
MODELS = {
    "good": probabilities(0, TRUTH, 3.0),
    "bad": probabilities(1, TRUTH, 1.0),
    "twin": probabilities(2, TRUTH, 3.0),
}


def test_mcnemar_counts_and_its_exact_p_value():
    first = np.array([True] * 8 + [False] * 2 + [True] * 5)
    second = np.array([False] * 8 + [True] * 2 + [True] * 5)

    # P(X <= 2) + P(X >= 8) for ten fair coins
    assert mcnemar(first, second) == {"only_first": 8, "only_second": 2, "p_value": pytest.approx(112 / 1024)}
    assert mcnemar(first, first) == {"only_first": 0, "only_second": 0, "p_value": 1.0}


def test_mcnemar_nears_its_chi_square_form_for_many_images():
    first = np.arange(1000) < 480
    found = mcnemar(first, ~first)
    assert found["p_value"] == pytest.approx(chi2.sf((abs(480 - 520) - 1) ** 2 / 1000, 1), rel=0.02)


def test_differences_are_those_of_the_figures():
    found = compare_pair(TRUTH, (MODELS["good"], MODELS["bad"]), np.arange(300), resamples=200, seed=0)

    accuracies = [accuracy_score(TRUTH, MODELS[name].argmax(1)) for name in ("good", "bad")]
    assert found["differences"]["accuracy"] == pytest.approx(accuracies[1] - accuracies[0])
    areas = [roc_auc_score(TRUTH, MODELS[name], multi_class="ovr") for name in ("good", "bad")]
    assert found["differences"]["macro_auroc"] == pytest.approx(areas[1] - areas[0])
    for name, (low, high) in found["difference_intervals"].items():
        assert low < found["differences"][name] < high
        assert low > 0 or high < 0 or name == "ece", "the second is worse beyond doubt"


def test_two_perfect_models_of_few_images_may_differ():
    truth = np.arange(16) % 2
    sure = np.eye(2)[truth] * 0.8 + 0.1
    found = compare_pair(truth, (sure, sure), np.arange(16), resamples=50, seed=0)

    for name in ("accuracy", "macro_auroc"):
        low, high = found["difference_intervals"][name]
        assert low < -0.1 < 0 == found["differences"][name] < 0.1 < high
    assert found["agreement"] == 1
    assert 0.7 < found["agreement_interval"][0] < 0.9
    assert macro_auroc_difference(truth * 0, (sure, sure), np.arange(16), resamples=50, seed=0) == (None, None)


def test_every_model_is_compared_with_the_first():
    found = compare_models(TRUTH, MODELS, np.arange(300), resamples=100, seed=0)

    assert list(found) == ["bad", "twin"]
    assert found["bad"]["mcnemar"]["p_value_holm"] == pytest.approx(2 * found["bad"]["mcnemar"]["p_value"])
    assert found["twin"]["mcnemar"]["p_value_holm"] == found["twin"]["mcnemar"]["p_value"]
    low, high = found["twin"]["difference_intervals"]["accuracy"]
    assert low < 0 < high


def test_holm_is_the_procedure_of_its_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []
    values = [0.001, 0.2, 0.04]
    assert (np.array(holm(values)) >= false_discovery_control(values) - 1e-12).all()
