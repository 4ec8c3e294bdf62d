"""Folds of a cross-validation that never separate the images of a patient."""

import warnings

import numpy as np

from cxr_ray.errors import DatasetError


def grouped_folds(truth: np.ndarray, groups: np.ndarray, *, folds: int, seed: int) -> np.ndarray:
    """Fold of each image, int64 [N] in 0 to `folds` - 1: groups stay together, and classes are spread as they allow.

    Args:
        truth: int64 [N], class of each image.
        groups: int64 [N], group of each image, such as its patient.
        folds: number of folds.
        seed: seed of the order of the groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold = np.zeros(len(truth), np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # of an inner fold; the outer ones are checked
        for number, (_, chosen) in enumerate(splitter.split(truth, truth, groups)):
            fold[chosen] = number
    return fold


def require_folds(truth: np.ndarray, groups: np.ndarray, labels: tuple[str, ...], *, folds: int) -> None:
    """Refuse a class of fewer patients than there are folds, which some folds could neither learn nor be judged by.

    Raises:
        DatasetError: if a class has fewer groups than `folds`.
    """
    for number, label in enumerate(labels):
        count = len(np.unique(groups[truth == number]))
        if count < folds:
            fix = (
                f"lower --folds to {count} or label more"
                if count >= 2
                else "label images of more patients, or leave it out"
            )
            raise DatasetError(f"{label} has images of {count} patients, and {folds} folds need one each; {fix}")
