import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    classification_report,
    mean_squared_error,
    precision_score,
    recall_score,
)

from cxr_ray.metrics.classification import (
    auprc,
    auroc,
    brier_score,
    classification_metrics,
    log_loss,
    per_class_metrics,
    report_text,
)

# Ten images of three classes, confusion matrix by hand:
#            predicted a  b  c
#   truth a            3  1  0
#   truth b            1  2  1
#   truth c            0  0  2
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 0, 1, 0, 1, 1, 2, 2, 2])
LABELS = ("a", "b", "c")


def spread(predicted: np.ndarray, classes: int, top: float = 0.8) -> np.ndarray:
    probabilities = np.full((len(predicted), classes), (1 - top) / max(classes - 1, 1))
    probabilities[np.arange(len(predicted)), predicted] = top
    return probabilities


def test_figures_agree_with_hand_computed_ones():
    metrics = classification_metrics(TRUTH, PREDICTED, spread(PREDICTED, 3), LABELS)

    assert metrics["confusion_matrix"] == [[3, 1, 0], [1, 2, 1], [0, 0, 2]]
    assert metrics["accuracy"] == pytest.approx(7 / 10)
    assert metrics["balanced_accuracy"] == pytest.approx((3 / 4 + 2 / 4 + 2 / 2) / 3)
    f1 = [6 / 8, 4 / 7, 4 / 5]
    assert metrics["macro_f1"] == pytest.approx(sum(f1) / 3)
    assert metrics["weighted_f1"] == pytest.approx((4 * f1[0] + 4 * f1[1] + 2 * f1[2]) / 10)
    assert metrics["log_loss"] == pytest.approx(-(7 * np.log(0.8) + 3 * np.log(0.1)) / 10)
    expected_b = {"precision": 2 / 3, "recall": 2 / 4, "specificity": 5 / 6, "f1": 4 / 7, "support": 4}
    assert {name: metrics["per_class"]["b"][name] for name in expected_b} == pytest.approx(expected_b)
    # AUROC is the fraction of pairs in order plus half of the ties; classes a, b and c have 24, 24 and 16 pairs.
    assert metrics["macro_auroc"] == pytest.approx((19 / 24 + 16 / 24 + 15 / 16) / 3)


def test_auroc_counts_ordered_pairs():
    positive = np.array([True, True, False, False, False])
    score = np.array([0.9, 0.4, 0.5, 0.4, 0.1])

    # Of six pairs, 4 are in order, (0.4, 0.5) is not, (0.4, 0.4) is a tie.
    assert auroc(positive, score) == pytest.approx(4.5 / 6)


@pytest.mark.parametrize(
    ("positive", "score"),
    [([True, True], [0.1, 0.2]), ([False, False], [0.1, 0.2]), ([True, False], [np.nan, 0.2])],
)
def test_auroc_that_cannot_be_computed_is_none(positive, score):
    assert auroc(np.array(positive), np.array(score)) is None


def test_class_without_support_is_null_and_raises_no_warning():
    truth, predicted = np.array([0, 0, 1]), np.array([0, 2, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = classification_metrics(truth, predicted, spread(predicted, 4), ("a", "b", "c", "d"))
        report_text(truth, predicted, ("a", "b", "c", "d"))

    only_predicted, unseen = metrics["per_class"]["c"], metrics["per_class"]["d"]
    assert only_predicted["precision"] == 0
    assert only_predicted["specificity"] == pytest.approx(2 / 3)
    assert [only_predicted[name] for name in ("recall", "f1", "auroc")] == [None] * 3
    assert [unseen[name] for name in ("precision", "recall", "f1", "auroc")] == [None] * 4
    assert unseen["support"] == 0
    assert metrics["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert "NaN" not in json.dumps(metrics, allow_nan=False)


def test_one_class_alone():
    truth = np.zeros(3, dtype=np.int64)
    metrics = classification_metrics(truth, truth, np.ones((3, 1)), ("a",))

    assert metrics["accuracy"] == metrics["macro_f1"] == 1
    assert metrics["per_class"]["a"]["specificity"] is None
    assert metrics["per_class"]["a"]["auroc"] is None
    assert metrics["log_loss"] == 0


def test_class_unknown_to_the_model_has_no_auroc_and_no_log_loss():
    probabilities = np.array([[0.9, 0.1, np.nan], [0.2, 0.8, np.nan], [0.6, 0.4, np.nan]])
    truth, predicted = np.array([0, 1, 2]), np.array([0, 1, 0])

    assert per_class_metrics(truth, predicted, probabilities, LABELS)["c"]["auroc"] is None
    assert log_loss(truth, probabilities) is None
    assert log_loss(truth[:2], probabilities[:2]) == pytest.approx(-(np.log(0.9) + np.log(0.8)) / 2)


def test_log_loss_of_a_certain_mistake_is_finite():
    assert log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-np.log(np.finfo(np.float32).eps))


@pytest.mark.parametrize("labels", [("a", "b", "c"), ("Viral_Pneumonia", "Normal", "COVID")])
def test_report_is_the_one_scikit_learn_prints(labels):
    names = np.array(labels)

    assert report_text(TRUTH, PREDICTED, labels) == classification_report(names[TRUTH], names[PREDICTED], digits=2)


def test_the_further_figures_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(3, size=(2, 60))
    probabilities = generator.multinomial(10, np.ones(3) / 3, size=60) / 10  # with ties
    metrics = classification_metrics(truth, predicted, probabilities, LABELS, resamples=2)

    for k, row in enumerate(metrics["per_class"].values()):
        assert row["npv"] == pytest.approx(precision_score(truth != k, predicted != k))
        assert row["specificity"] == pytest.approx(recall_score(truth != k, predicted != k))
        assert row["auprc"] == pytest.approx(average_precision_score(truth == k, probabilities[:, k]))
        assert row["prevalence"] == pytest.approx((truth == k).mean())
    is_true = np.eye(3)[truth]
    assert metrics["brier"] == pytest.approx(3 * mean_squared_error(is_true, probabilities))
    two = probabilities[:, 1:] + probabilities[:, :1] / 2
    assert brier_score(truth // 2, two) == pytest.approx(2 * brier_score_loss(truth // 2, two[:, 1]))


def test_a_perfect_average_precision_does_not_round_above_1():
    score = np.linspace(0, 1, 150)
    assert average_precision_score(score > 0.7, score) > 1
    assert auprc(score > 0.7, score) == 1


def test_a_perfect_classifier_of_100_images_has_intervals():
    truth = np.arange(100) % 2
    metrics = classification_metrics(truth, truth, np.eye(2)[truth], ("a", "b"))

    assert metrics["accuracy"] == 1
    assert 0.95 < metrics["accuracy_interval"][0] < 0.975
    figures = metrics["intervals"] | metrics["per_class"]["a"]["intervals"]
    found = {name: interval for name, interval in figures.items() if name not in ("brier", "log_loss", "weighted_f1")}
    assert {name for name, (low, high) in found.items() if not (0.85 < low < 0.985 and high == 1)} == set()


def test_a_class_that_is_seldom_predicted_does_not_make_macro_f1_jump():
    truth = np.arange(400) % 2
    predicted = np.where(np.arange(400) % 5, truth, 1 - truth)
    predicted[0] = 2  # a third class, which no image has; a third of the resamples lack it
    metrics = classification_metrics(truth, predicted, spread(predicted, 3), LABELS)

    low, high = metrics["macro_f1_interval"]
    assert metrics["macro_f1"] == pytest.approx(0.8 * 2 / 3, abs=0.01)
    assert low < metrics["macro_f1"] < high < 0.6


def test_several_images_of_a_patient_widen_the_intervals():
    truth = np.arange(600) // 6 % 2  # 100 patients of six images each
    predicted = np.where(np.arange(600) // 6 % 5, truth, 1 - truth)  # a fifth of the patients are wrong
    probabilities = spread(predicted, 2, top=0.7)
    alone = classification_metrics(truth, predicted, probabilities, ("a", "b"))
    patients = classification_metrics(truth, predicted, probabilities, ("a", "b"), np.arange(600) // 6)

    assert (alone["n_patients"], patients["n_patients"]) == (600, 100)
    pairs = [
        (one["intervals"], other["intervals"])
        for one, other in ((alone, patients), (alone["per_class"]["a"], patients["per_class"]["a"]))
    ]
    wider = [
        (both[1][name][1] - both[1][name][0]) / (both[0][name][1] - both[0][name][0])
        for both in pairs
        for name in both[0]
        if both[0][name] and both[1][name]
    ]
    assert 2 < min(wider) <= max(wider) < 3.5, "the root of six is 2.4"


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda classes: st.tuples(
            st.just(classes),
            st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=20),
        )
    )
)
def test_any_outcome_gives_strict_json_and_no_warning(case):
    classes, pairs = case
    truth, predicted = np.array(pairs).T
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = [f"class {k}" for k in range(classes)]
        metrics = classification_metrics(truth, predicted, spread(predicted, classes), labels)
        report_text(truth, predicted, labels)

    json.dumps(metrics, allow_nan=False)
    low, high = metrics["accuracy_interval"]
    assert low <= metrics["accuracy"] <= high
