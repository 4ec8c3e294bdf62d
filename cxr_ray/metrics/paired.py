"""Two classifiers on the same images: what each reaches, and the difference with an interval that respects the pairs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.classification import INTERVAL_PERCENT, RESAMPLES

BINS = 15
"""Bins of the expected calibration error, equally wide in confidence, as in Guo et al. 2017."""
RESAMPLES_AT_ONCE = 50

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


def paired_metrics(
    truth: Indices, probabilities: Mapping[str, Floats], groups: Indices, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Compare two classifiers on the same N images, ready for strict JSON.

    Intervals are 95 % percentile intervals of a bootstrap that draws groups of images, such as those of a patient, with
    replacement, and the same groups for both classifiers (Efron and Tibshirani 1993, chapter 13).

    Args:
        truth: int64 [N], indices of the true classes, 0 to K - 1; N >= 1.
        probabilities: float64 [N, K], rows that sum to 1, of two classifiers by their names.
        groups: int64 [N], number of the group of each image.
        resamples: number of bootstrap resamples.
        seed: seed of the random generator; equal inputs and seed give equal intervals.

    Returns:
        `n_images`, `n_groups` and `bootstrap_resamples`; for `accuracy`, `brier` (0 to 2, Brier 1950) and `ece` (0 to 1,
        see `ece_terms`) a dict with the value of each classifier under its name, `difference`, that of the second minus
        that of the first, and `difference_interval`, [low, high]; `agreement`, the fraction of images with equal labels,
        and `agreement_interval`; `max_difference` and `mean_difference` of a probability, as absolute values.
    """
    first, second = probabilities
    both = [probabilities[first], probabilities[second]]
    labels = [probs.argmax(1) for probs in both]
    columns = [np.ones((len(truth), 1)), (labels[0] == labels[1])[:, None], *(_terms(truth, probs) for probs in both)]
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.zeros((numbers.max() + 1, sum(column.shape[1] for column in columns)))
    np.add.at(sums, numbers, np.hstack(columns))
    value, drawn = _metrics(sums.sum(0)[None]), _metrics(_resampled(sums, resamples, seed))
    (agreement,), (agreements,) = value.pop("agreement"), drawn.pop("agreement")
    result: dict[str, Any] = {"n_images": len(truth), "n_groups": len(sums), "bootstrap_resamples": resamples}
    for name, (a, b) in value.items():
        result[name] = {
            first: float(a[0]),
            second: float(b[0]),
            "difference": float(b[0] - a[0]),
            "difference_interval": _interval(drawn[name][1] - drawn[name][0]),
        }
    apart = np.abs(both[0] - both[1])
    return result | {
        "agreement": float(agreement[0]),
        "agreement_interval": _interval(agreements),
        "max_difference": float(apart.max()),
        "mean_difference": float(apart.mean()),
    }


def ece_terms(truth: Indices, probabilities: Floats) -> Floats:
    """Terms of the expected calibration error (Guo et al. 2017, arXiv:1706.04599, equation 3).

    The error is the sum over bins of the absolute value of the sum over images of their terms, divided by N.

    Args:
        truth: int64 [N], indices of the true classes.
        probabilities: float64 [N, K].

    Returns:
        float64 [N, BINS]: the confidence minus 1 where the label is right and minus 0 where it is wrong, in the column
        of the bin in which the confidence lies.
    """
    confidence = probabilities.max(1)
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    terms = np.zeros((len(truth), BINS))
    terms[np.arange(len(truth)), bins] = confidence - (probabilities.argmax(1) == truth)
    return terms


def _terms(truth: Indices, probabilities: Floats) -> Floats:
    """What each image adds to the sums from which the metrics follow, float64 [N, 2 + BINS]."""
    is_true = np.arange(probabilities.shape[1]) == truth[:, None]
    brier = ((probabilities - is_true) ** 2).sum(1)
    return np.column_stack([probabilities.argmax(1) == truth, brier, ece_terms(truth, probabilities)])


def _resampled(sums: Floats, resamples: int, seed: int) -> Floats:
    """Sums over groups that are drawn with replacement, float64 [resamples, columns], of the sums of G groups."""
    generator, size = np.random.default_rng(seed), len(sums)
    drawn = []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):  # a row of counts for each resample needs 8 G bytes
        count = min(RESAMPLES_AT_ONCE, resamples - start)
        drawn.append(generator.multinomial(size, np.full(size, 1 / size), size=count) @ sums)
    return np.concatenate(drawn)


def _metrics(sums: Floats) -> dict[str, list[Floats]]:
    """Metrics float64 [R] of each classifier by name, of R rows of sums; there is one agreement."""
    count, equal, rest = sums[:, 0], sums[:, 1], sums[:, 2:]
    parts = np.split(rest / count[:, None], 2, axis=1)
    return {
        "accuracy": [part[:, 0] for part in parts],
        "brier": [part[:, 1] for part in parts],
        "ece": [np.abs(part[:, 2:]).sum(1) for part in parts],
        "agreement": [equal / count],
    }


def _interval(values: Floats) -> list[float]:
    return [float(bound) for bound in np.percentile(values, INTERVAL_PERCENT)]
