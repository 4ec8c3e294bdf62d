"""Retrain a linear probe on features, and let it predict only patients that it has not seen."""

import numpy as np

from cxr_ray.probing.folds import grouped_folds
from cxr_ray.probing.linear_probe import fit_probe


def cross_validated(
    features: np.ndarray, truth: np.ndarray, groups: np.ndarray, *, folds: int, balanced: bool, seed: int
) -> np.ndarray:
    """Predict each image by a probe of the other folds, int64 [N].

    Args:
        features: float32 [N, D].
        truth: int64 [N], classes 0 to K - 1, each of at least `folds` patients (see `probeable`).
        groups: int64 [N], number of the patient of each image, whose images stay together.
        folds: number of folds.
        balanced: whether the classes count equally.
        seed: seed of the folds.
    """
    fold = grouped_folds(truth, groups, folds=folds, seed=seed)
    predicted = np.zeros(len(truth), np.int64)
    for number in range(folds):
        left_out = fold == number
        known, numbers = np.unique(truth[~left_out], return_inverse=True)
        probe = fit_probe(
            features[~left_out], numbers, groups[~left_out], classes=len(known), balanced=balanced, seed=seed
        )
        predicted[left_out] = known[probe.logits(features[left_out]).argmax(1)]
    return predicted


def probeable(truth: np.ndarray, groups: np.ndarray, folds: int) -> np.ndarray:
    """Find the classes, int64, that have images of at least `folds` patients, so that every fold may learn them."""
    classes = np.unique(truth)
    return np.array([k for k in classes if len(np.unique(groups[truth == k])) >= folds], np.int64)
