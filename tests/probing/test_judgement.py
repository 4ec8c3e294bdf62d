import numpy as np
import pytest

from cxr_ray.probing.judgement import cross_validate, expected_accuracy, judged, learning_curve
from cxr_ray.probing.labelled_embeddings import LabelledEmbeddings


@pytest.fixture(scope="module")
def data():
    """150 images of 75 patients and three classes, which embeddings tell apart with errors."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(75), 2)
    truth = groups % 3
    vectors = (random.normal(size=(3, 20))[truth] + 2.5 * random.normal(size=(150, 20))).astype(np.float32)
    return LabelledEmbeddings(
        image_ids=[str(i) for i in range(150)], vectors=vectors, truth=truth, labels=("a", "b", "c"), groups=groups,
        is_test=np.zeros(150, bool), notes=(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(data):
    return cross_validate(data, folds=5, balanced=True, seed=0)


def test_no_image_is_predicted_by_a_probe_that_saw_its_patient(data, whole):
    """Labels that are noise of the patients are not predicted, though each patient has a second image."""
    random = np.random.default_rng(1)
    vectors = (4 * random.normal(size=(75, 20))[data.groups] + 0.1 * random.normal(size=(150, 20))).astype(np.float32)
    noise = LabelledEmbeddings(**{**vars(data), "vectors": vectors})
    found = cross_validate(noise, folds=5, balanced=True, seed=0)
    assert judged(noise, _softmax(found.logits))["accuracy"] < 0.5
    assert judged(noise, found.votes[1])["accuracy"] < 0.5
    assert judged(data, _softmax(whole.logits))["accuracy"] > 0.5
    assert all(len(set(whole.fold[data.groups == group])) == 1 for group in range(75))
    assert len(whole.strengths) == 5


def test_metrics_have_intervals_over_patients(data, whole):
    found = judged(data, _softmax(whole.logits))
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] < high
    assert (found["images"], found["patients"]) == (150, 75)
    assert found["balanced_accuracy_interval"][0] < found["balanced_accuracy"] < found["balanced_accuracy_interval"][1]


def test_a_learning_curve_ends_with_the_cross_validation(data, whole):
    points = learning_curve(data, whole, balanced=True, seed=0)
    assert [point["images"] for point in points] == [30, 60, 120]
    assert points[-1]["accuracy"] == judged(data, _softmax(whole.logits))["accuracy"]
    assert points == learning_curve(data, whole, balanced=True, seed=0)


def test_sizes_at_which_a_class_is_lacking_are_left_out(data, whole):
    truth = np.where(data.groups < 6, 2, data.groups % 2)  # a class of six patients
    rare = LabelledEmbeddings(**{**vars(data), "truth": truth})
    points = learning_curve(rare, cross_validate(rare, folds=5, balanced=True, seed=0), balanced=True, seed=0)
    assert [point["images"] for point in points][-1] == 120
    assert len(points) < 3


def test_what_more_labels_would_give():
    points = [{"images": n, "accuracy": 1 - 2 * n**-0.5} for n in (100, 200, 400)]
    assert expected_accuracy(points, 4) == pytest.approx(1 - 2 * 1600**-0.5)
    assert expected_accuracy(points[:2], 4) is None
    assert expected_accuracy([*points, {"images": 800, "accuracy": 1.0}], 4) is None
    assert expected_accuracy(points[::-1] and [{"images": n, "accuracy": 0.9 - n / 1e4} for n in (1, 2, 3)], 2) is None


def _softmax(logits):
    found = np.exp(logits - logits.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)
