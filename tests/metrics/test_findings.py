import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, log_loss, roc_auc_score

from cxr_ray.metrics.findings import finding_metrics, findings_text, one_finding

N = 240


@pytest.fixture(scope="module")
def evaluation():
    """Truth with unknown labels, calls, probabilities, and patients of two images each."""
    rng = np.random.default_rng(0)
    truth = (rng.random((N, 2)) < (0.3, 0.5)).astype(float)
    probabilities = np.clip(0.35 * truth + 0.65 * rng.random((N, 2)), 0.001, 0.999)
    truth[rng.random((N, 2)) < 0.25] = np.nan
    return truth, probabilities >= 0.5, probabilities, np.arange(N) // 2


def of(evaluation, **changes):
    truth, called, probabilities, groups = evaluation
    return finding_metrics(truth, called, probabilities, ("edema", "mass"), groups, resamples=100, **changes)


def test_metrics_are_those_of_scikit_learn_over_the_known_labels(evaluation):
    truth, called, probabilities, _ = evaluation
    found = of(evaluation)
    for k, row in enumerate(found["per_class"].values()):
        known = ~np.isnan(truth[:, k])
        y, p = truth[known, k], probabilities[known, k]
        tn, fp, fn, tp = confusion_matrix(y, called[known, k]).ravel()
        assert (row["n_known"], row["n_not_known"], row["support"]) == (known.sum(), N - known.sum(), y.sum())
        expected = {
            "recall": tp / (tp + fn), "specificity": tn / (tn + fp), "precision": tp / (tp + fp), "npv": tn / (tn + fn),
            "f1": 2 * tp / (2 * tp + fp + fn), "auroc": roc_auc_score(y, p), "auprc": average_precision_score(y, p),
            "brier": brier_score_loss(y, p), "log_loss": log_loss(y, p), "mean_probability": p.mean(), "prevalence": y.mean(),
        }  # fmt: skip
        for name, value in expected.items():
            assert row[name] == pytest.approx(value), name
            if name in row["intervals"]:
                low, high = row["intervals"][name]
                assert low < value < high
    rows = found["per_class"].values()
    assert found["macro_auroc"] == pytest.approx(np.mean([row["auroc"] for row in rows]))
    low, high = found["intervals"]["macro_auroc"]
    assert low < found["macro_auroc"] < high
    assert found["n_patients"] == N // 2


def test_labels_that_are_not_known_change_nothing(evaluation):
    truth, called, probabilities, groups = evaluation
    hidden = np.isnan(truth)
    other = of((truth, called ^ hidden, np.where(hidden, 1 - probabilities, probabilities), groups))
    assert other == of(evaluation)


def test_images_of_one_patient_widen_the_intervals(evaluation):
    truth, called, probabilities, _ = evaluation
    four = [np.repeat(array[: N // 4], 4, axis=0) for array in (truth, called, probabilities)]
    alone, together = (of((*four, groups)) for groups in (np.arange(N), np.arange(N) // 4))
    for figure in ("auroc", "recall"):
        widths = [np.ptp(one["per_class"]["mass"]["intervals"][figure]) for one in (alone, together)]
        assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize(
    ("truth", "known"), [([np.nan] * 4, {}), ([1, 1, np.nan, 1], {"recall": 2 / 3, "precision": 1.0, "support": 3})]
)
def test_a_figure_that_does_not_exist_is_none(truth, known):
    row = one_finding(
        np.array(truth, float), np.array([True, True, False, False]), np.full(4, 0.5), np.arange(4), resamples=10
    )
    assert row["auroc"] is row["specificity"] is row["intervals"]["auroc"] is row["intervals"]["specificity"] is None
    assert {name: row[name] for name in known} == pytest.approx(known)


def test_the_report_has_a_line_for_each_finding(evaluation):
    lines = findings_text(of(evaluation)).splitlines()
    assert [line.split()[0] for line in lines] == ["finding", "edema", "mass", "mean"]
