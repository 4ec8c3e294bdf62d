"""Weights of classes, for datasets in which some classes have many more images than others."""

import numpy as np


def class_weights(targets: np.ndarray, classes: int, power: float) -> np.ndarray:
    """Class weights, float64 [classes], proportional to the class frequency raised to -`power`; their mean over images is 1.

    Args:
        targets: class indices int64 [N] of the training images; every class must occur.
        classes: number of classes.
        power: 1 gives every class the same sum of weights, and 0 gives every image the same weight.
    """
    counts = np.bincount(targets, minlength=classes)
    weights = np.asarray(counts, np.float64) ** -power
    return np.asarray(weights * len(targets) / (weights * counts).sum())
