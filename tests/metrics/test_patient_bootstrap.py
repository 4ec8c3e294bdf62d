import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from cxr_ray.metrics.patient_bootstrap import (
    RankedClass,
    mean_of_known_classes,
    percentile_interval,
    resampled_areas,
    resampled_confusion,
    resampled_weights,
)


def test_patients_are_drawn_with_all_of_their_images():
    groups = np.array([7, 3, 7, 3, 9])
    weights = np.concatenate(list(resampled_weights(groups, resamples=200)))

    assert weights.shape == (200, 5)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 3]).all()
    assert (weights[:, [0, 1, 4]].sum(1) == 3).all(), "three patients are drawn"
    assert weights.std() > 0


def test_chunks_change_nothing(monkeypatch):
    groups = np.arange(50) // 2
    whole = np.concatenate(list(resampled_weights(groups, resamples=7, seed=3)))
    monkeypatch.setattr("cxr_ray.metrics.patient_bootstrap.CELLS_AT_ONCE", 100)

    assert (np.concatenate(list(resampled_weights(groups, resamples=7, seed=3))) == whole).all()


def test_weighted_areas_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    positive, score = generator.random(80) < 0.4, generator.random(80).round(1)  # with ties
    weights = generator.integers(3, size=(5, 80)).astype(float)

    auroc, average_precision = RankedClass(positive, score).areas(weights)

    assert auroc == pytest.approx([roc_auc_score(positive, score, sample_weight=row) for row in weights])
    expected = [average_precision_score(positive, score, sample_weight=row) for row in weights]
    assert average_precision == pytest.approx(expected)


def test_areas_without_images_of_a_class_do_not_exist():
    auroc, average_precision = RankedClass(np.array([True, False]), np.array([0.2, 0.1])).areas(
        np.array([[0.0, 2.0], [2.0, 0.0], [1.0, 1.0]])
    )

    assert np.isnan([auroc[0], auroc[1], average_precision[0]]).all()
    assert (auroc[2], average_precision[2]) == (1, 1)
    assert percentile_interval(auroc)[:2] == (1, 1)
    assert percentile_interval(auroc[:2]) is None
    means = mean_of_known_classes(np.column_stack([auroc, [0.5, np.nan, 0.5]]))
    assert (means[0], means[2]) == (0.5, 0.75)
    assert np.isnan(means[1])


def test_resampled_matrices_and_areas_are_those_of_the_drawn_images():
    generator = np.random.default_rng(1)
    groups, truth = generator.integers(20, size=90), generator.integers(3, size=90)
    probabilities = generator.dirichlet(np.ones(3), size=90)
    predicted = probabilities.argmax(1)
    drawing = {"resamples": 4, "seed": 5}
    (weights,) = resampled_weights(groups, **drawing)

    matrices = resampled_confusion(truth, predicted, 3, groups, **drawing)
    aurocs, _ = resampled_areas(truth, probabilities, [2], groups, **drawing)

    for number, row in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(90), row)
        correct, both = np.diag(matrices[number]), matrices[number].sum(0) + matrices[number].sum(1)
        assert (2 * correct / both).mean() == pytest.approx(f1_score(truth[drawn], predicted[drawn], average="macro"))
        assert aurocs[number, 0] == pytest.approx(roc_auc_score(truth[drawn] == 2, probabilities[drawn, 2]))
