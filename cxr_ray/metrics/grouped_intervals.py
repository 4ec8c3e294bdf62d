"""Confidence intervals of a classifier's metrics over images that belong together, such as those of a patient."""

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.classification import INTERVAL_PERCENT, RESAMPLES, Indices

GROUPS_AT_ONCE = 4_000_000
"""Largest number of drawn counts in memory at a time."""


def grouped_intervals(
    truth: Indices, predicted: Indices, groups: Indices, *, classes: int, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, list[float]]:
    """Compute 95 % bootstrap percentile intervals of accuracy, balanced accuracy and macro F1.

    Whole groups are drawn with replacement (the cluster bootstrap, Field and Welsh 2007, "Bootstrapping clustered data"),
    because images of one patient are right or wrong together. The intervals say how far the metrics depend on the
    patients by which the classifier is judged, not on those from which it learned.

    Args:
        truth: int64 [N], indices of the true classes, 0 to K - 1.
        predicted: int64 [N], indices of the predicted classes, 0 to K - 1.
        groups: int64 [N], any number for each group.
        classes: K, the number of classes.
        resamples: number of bootstrap resamples.
        seed: seed of the random generator.

    Returns:
        The intervals `accuracy`, `balanced_accuracy` and `macro_f1`, each a list [low, high].
    """
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    cells = np.zeros((count, classes * classes))
    np.add.at(cells, (group, truth * classes + predicted), 1)
    random = np.random.default_rng(seed)
    at_once = max(1, GROUPS_AT_ONCE // count)
    drawn = np.concatenate(
        [
            random.multinomial(count, np.full(count, 1 / count), size=min(at_once, resamples - start)) @ cells
            for start in range(0, resamples, at_once)
        ]
    )
    values = _metrics(drawn.reshape(resamples, classes, classes))
    return {name: np.percentile(found, INTERVAL_PERCENT).tolist() for name, found in values.items()}


def _metrics(confusion: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Metrics float64 [R] of confusion matrices float64 [R, K, K], rows true classes."""
    correct = np.diagonal(confusion, axis1=1, axis2=2)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    recalls = correct / np.maximum(true, 1)
    f1 = 2 * correct / np.maximum(true + predicted, 1)
    return {
        "accuracy": correct.sum(axis=1) / confusion.sum(axis=(1, 2)),
        "balanced_accuracy": recalls.sum(axis=1) / np.count_nonzero(true, axis=1),
        "macro_f1": f1.sum(axis=1) / np.count_nonzero(true + predicted, axis=1),
    }
