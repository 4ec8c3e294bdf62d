"""Weights of classes, for datasets in which some classes have many more images than others."""

import numpy as np


def class_weights(targets: np.ndarray, classes: int, power: float) -> np.ndarray:
    """Weight of each class, float64 [classes], proportional to its frequency raised to -`power`; mean over images 1.

    Args:
        targets: class indices of the training images; every class occurs.
        classes: number of classes.
        power: 1 gives every class the same sum of weights, 0 every image the same weight.
    """
    counts = np.bincount(targets, minlength=classes)
    weights = np.asarray(counts, np.float64) ** -power
    return np.asarray(weights * len(targets) / (weights * counts).sum())
