"""Bootstrap of figures that have no formula for their interval: patients are drawn with replacement, with all of their images.

A resample is a weight for each image: how often its patient was drawn. Weights give the AUROC and the average precision
of all resamples without sorting the images again.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.intervals import LEVEL, Interval

CELLS_AT_ONCE = 2**21
"""Maximum number of weights in memory at one time."""

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def resampled_weights(groups: Indices, *, resamples: int, seed: int = 0) -> Iterator[Floats]:
    """Yield the weights of the images in each resample, float64 [R, N], a few resamples at a time.

    Args:
        groups: int64 [N], number of the patient of each image.
        resamples: total number of resamples.
        seed: seed of the random generator; the same groups and seed always give the same weights.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    patients = int(numbers.max()) + 1
    generator = np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // len(groups))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = generator.integers(patients, size=(count, patients)) + np.arange(count)[:, None] * patients
        times = np.bincount(drawn.ravel(), minlength=count * patients).reshape(count, patients)
        yield times[:, numbers].astype(np.float64)


class RankedClass:
    """The images in the order of their score for one class, from which weighted areas follow."""

    def __init__(self, positive: Flags, score: Floats) -> None:
        """Sort the images.

        Args:
            positive: bool [N], True for an image of the class.
            score: float64 [N], higher for an image that is more likely to be of the class.
        """
        self._order = np.argsort(-score, kind="stable")
        ordered = score[self._order]
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # last image of each distinct score
        self._positive = positive[self._order]

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """Compute the AUROC and the average precision of each resample, both float64 [R].

        They equal scikit-learn's `roc_auc_score` and `average_precision_score` with these sample weights, and are NaN where
        a resample lacks images of the class, or the AUROC where it lacks others.

        Args:
            weights: float64 [R, N], >= 0.
        """
        ordered = weights[:, self._order]
        hits = np.cumsum(np.where(self._positive, ordered, 0), axis=1)[:, self._ends]
        alarms = np.cumsum(ordered, axis=1)[:, self._ends] - hits
        new_hits, new_alarms = (np.diff(counts, axis=1, prepend=0) for counts in (hits, alarms))
        with np.errstate(invalid="ignore", divide="ignore"):
            wins = (new_alarms * (hits - new_hits / 2)).sum(axis=1)
            auroc = wins / (hits[:, -1] * alarms[:, -1])
            precision = np.nan_to_num(hits / (hits + alarms))
            average_precision = (new_hits * precision).sum(axis=1) / hits[:, -1]
        return auroc, average_precision


def resampled_areas(
    truth: Indices, probabilities: Floats, classes: Sequence[int], groups: Indices, *, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Compute the AUROC and the average precision of classes in each resample, both float64 [resamples, len(classes)].

    Args:
        truth: int64 [N], indices of the true classes.
        probabilities: float64 [N, K], finite in the columns of `classes`.
        classes: indices of classes, each with at least one image of it and one of another class.
        groups: int64 [N], number of the patient of each image.
        resamples: number of resamples.
        seed: seed of the random generator.
    """
    ranked = [RankedClass(truth == k, probabilities[:, k]) for k in classes]
    areas = [
        np.stack([np.stack(one.areas(weights), axis=1) for one in ranked], axis=2)
        for weights in resampled_weights(groups, resamples=resamples, seed=seed)
    ]
    both = np.concatenate(areas)
    return both[:, 0], both[:, 1]


def resampled_confusion(
    truth: Indices, predicted: Indices, classes: int, groups: Indices, *, resamples: int, seed: int
) -> Floats:
    """Compute the confusion matrix of each resample, float64 [resamples, K, K], rows true classes, columns predicted ones."""
    from scipy.sparse import csr_array

    cells = truth * classes + predicted
    rows = np.arange(len(truth))
    of_cell = csr_array((np.ones(len(truth)), (cells, rows)), shape=(classes**2, len(truth)))
    drawn = [(of_cell @ weights.T).T for weights in resampled_weights(groups, resamples=resamples, seed=seed)]
    return np.concatenate(drawn).reshape(resamples, classes, classes)


def mean_of_known_classes(areas: Floats) -> Floats:
    """Compute the mean over the classes of areas float64 [R, K] that are not NaN, float64 [R]; NaN where all are."""
    known = ~np.isnan(areas)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, areas, 0).sum(axis=1) / known.sum(axis=1))


def percentile_interval(values: Floats) -> Interval | None:
    """Compute the interval between the percentiles of resampled figures, float64 [R], without those that are NaN.

    Returns:
        The interval; None if every resample is NaN.
    """
    if np.isnan(values).all():
        return None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high), "bootstrap")
