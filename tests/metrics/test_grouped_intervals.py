import numpy as np
import pytest
from sklearn.metrics import f1_score

from cxr_ray.metrics import grouped_intervals as module
from cxr_ray.metrics.grouped_intervals import grouped_intervals

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.integers(0, 3, 300)
PREDICTED = np.where(RANDOM.random(300) < 0.8, TRUTH, RANDOM.integers(0, 3, 300))


def test_groups_of_one_image_give_the_intervals_of_images():
    found = grouped_intervals(TRUTH, PREDICTED, np.arange(300), classes=3)
    accuracy = (TRUTH == PREDICTED).mean()
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 300)
    assert found["accuracy"] == pytest.approx([accuracy - half, accuracy + half], abs=0.01)
    low, high = found["macro_f1"]
    assert low < f1_score(TRUTH, PREDICTED, average="macro") < high
    low, high = found["balanced_accuracy"]
    recalls = [(PREDICTED[k == TRUTH] == k).mean() for k in range(3)]
    assert low < np.mean(recalls) < high


def test_images_that_are_right_or_wrong_together_widen_the_interval():
    groups = np.arange(300)
    narrow = np.diff(grouped_intervals(TRUTH, PREDICTED, groups, classes=3)["accuracy"])
    copies = (np.repeat(values, 9) for values in (TRUTH, PREDICTED, groups))
    wide = np.diff(grouped_intervals(*copies, classes=3)["accuracy"])
    assert wide == pytest.approx(narrow, abs=0.01)
    assert wide > 2 * np.diff(
        grouped_intervals(*(np.repeat(v, 9) for v in (TRUTH, PREDICTED)), np.arange(2700), classes=3)["accuracy"]
    )


def test_many_groups_are_drawn_piece_by_piece(monkeypatch):
    whole = grouped_intervals(TRUTH, PREDICTED, np.arange(300), classes=3, resamples=50)
    monkeypatch.setattr(module, "GROUPS_AT_ONCE", 300 * 7)
    assert grouped_intervals(TRUTH, PREDICTED, np.arange(300), classes=3, resamples=50) == whole


def test_no_errors_have_no_width():
    found = grouped_intervals(TRUTH, TRUTH, np.arange(300) // 3, classes=3)
    assert found == {name: [1.0, 1.0] for name in ("accuracy", "balanced_accuracy", "macro_f1")}
