import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import f1_score, log_loss, roc_auc_score

from cxr_ray.training.classifier.finding_validation import finding_validation, youden_threshold
from cxr_ray.training.classifier.validation import ScoredShard

LABELS = ("edema", "mass")
N = 2000


@pytest.fixture(scope="module")
def split():
    """Logits that are three times too far from 0 for `mass`, and targets of which a fifth is not known."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-0.5, 2, (N, 2)).astype(np.float32)
    targets = (rng.random((N, 2)) < expit(logits)).astype(np.float32)
    targets[rng.random((N, 2)) < 0.2] = np.nan
    return logits * np.array([1, 3], np.float32), targets


def shards(logits, count):
    return [
        ScoredShard(positions=np.arange(N)[rank::count], logits=logits[rank::count], mistakes=[])
        for rank in range(count)
    ]


def test_metrics_are_those_of_scikit_learn_over_the_known_labels(split):
    logits, targets = split
    found = finding_validation(shards(logits, 2), targets, LABELS)
    known = ~np.isnan(targets)
    areas = [roc_auc_score(targets[known[:, k], k], logits[known[:, k], k]) for k in (0, 1)]
    assert [found.metrics[f"val_auroc_{label}"] for label in LABELS] == pytest.approx(areas)
    assert found.metrics["val_auroc"] == pytest.approx(np.mean(areas))
    assert found.metrics["val_loss"] == pytest.approx(
        log_loss(targets[known], expit(logits[known].astype(float))), rel=1e-4
    )
    calibrated = expit(logits / np.array(found.card["temperatures"]))
    called = calibrated >= np.array(found.card["thresholds"])
    assert found.metrics["val_accuracy"] == pytest.approx((called == (targets == 1))[known].mean())
    scores = [f1_score(targets[known[:, k], k], called[known[:, k], k]) for k in (0, 1)]
    assert found.metrics["val_macro_f1"] == pytest.approx(np.mean(scores))


def test_each_finding_has_the_temperature_that_calibrates_it(split):
    found = finding_validation(shards(split[0], 1), split[1], LABELS)
    assert found.card["temperatures"] == pytest.approx((1.0, 3.0), rel=0.12)
    assert all(0.4 < threshold < 0.6 for threshold in found.card["thresholds"])


def test_the_number_of_workers_changes_nothing(split):
    one, three = (finding_validation(shards(split[0], count), split[1], LABELS) for count in (1, 3))
    assert one.card["thresholds"] == pytest.approx(three.card["thresholds"])
    assert one.metrics == pytest.approx(three.metrics)
    with pytest.raises(ValueError, match="once"):
        finding_validation(shards(split[0], 2)[:1], split[1], LABELS)


def test_the_threshold_lies_between_the_scores_that_it_parts():
    positive, score = np.array([True, True, False, False]), np.array([0.9, 0.7, 0.3, 0.1])
    assert youden_threshold(positive, score) == pytest.approx(0.5)
    assert youden_threshold(~positive, score) <= 1
