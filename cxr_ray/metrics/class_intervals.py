"""95 % confidence intervals of the metrics of a classifier, with patients as the independent units.

Proportions have Wilson's interval at the number of independent images (see `intervals`). Areas and macro averages are
bootstrapped by patient, except where few patients or a figure of 0 or 1 would make that too narrow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.intervals import (
    Interval,
    auroc_interval,
    bounded_mean_interval,
    mean_interval,
    mean_of_intervals,
    proportion_interval,
    wilson_interval,
)
from cxr_ray.metrics.patient_bootstrap import (
    mean_of_known_classes,
    percentile_interval,
    resampled_areas,
    resampled_confusion,
)

MIN_PATIENTS = 30
"""Least number of patients of each of two kinds for a bootstrap: with and without the class, or right and wrong."""
MIN_FAILURES = 5
"""Least product of an area's distance from 0 and 1 and of the patients of the rarer kind for a bootstrap."""
NORMAL_QUANTILE = 1.959963984540054
Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Intervals = dict[str, Interval | None]
Row = Mapping[str, Any]


def class_intervals(truth: Indices, predicted: Indices, classes: int, groups: Indices) -> list[Intervals]:
    """Compute the intervals of `recall`, `specificity`, `precision`, `npv` and `f1` of each class.

    F1 is 2 J / (1 + J), where J is the fraction of the images of the class or predicted as the class that are both.

    Args:
        truth: int64 [N], indices of the true classes.
        predicted: int64 [N], indices of the predicted classes.
        classes: K, the number of classes.
        groups: int64 [N], number of the patient of each image.

    Returns:
        One dict for each class; a figure that does not exist has the interval None.
    """
    found: list[Intervals] = []
    for k in range(classes):
        true, positive = truth == k, predicted == k
        jaccard = proportion_interval(true & positive, true | positive, groups) if true.any() else None
        found.append(
            {
                "recall": proportion_interval(positive, true, groups),
                "specificity": proportion_interval(~positive, ~true, groups),
                "precision": proportion_interval(true, positive, groups),
                "npv": proportion_interval(~true, ~positive, groups),
                "f1": None if jaccard is None else _f1_of_jaccard(jaccard),
            }
        )
    return found


def area_intervals(
    truth: Indices, probabilities: Floats, rows: Sequence[Row], groups: Indices, *, resamples: int, seed: int
) -> tuple[list[Intervals], Interval | None]:
    """Compute the intervals of `auroc` and `auprc` of each class, and that of the mean AUROC.

    An AUROC of few patients, or one that is 0 or 1 or near it, has Newcombe's interval. Such an average precision has
    Wilson's interval with one trial for each patient of the class (after Boyd, Eng and Page 2013, "Area under the
    precision-recall curve", section 3).

    Args:
        truth: int64 [N], indices of the true classes.
        probabilities: float64 [N, K], NaN in the column of a class that the model does not know.
        rows: the figures `auroc` and `auprc` of each class.
        groups: int64 [N], number of the patient of each image.
        resamples: number of resamples.
        seed: seed of the random generator.

    Returns:
        One dict for each class, and the interval of the mean of the known AUROCs, None if there is none.
    """
    known = [k for k, row in enumerate(rows) if row["auroc"] is not None]
    found: list[Intervals] = [{"auroc": None, "auprc": None} for _ in rows]
    if not known:
        return found, None
    patients = {k: (_patients(groups, truth == k), _patients(groups, truth != k)) for k in known}
    many = [k for k in known if allows_bootstrap(0.5, *patients[k])]
    drawn: tuple[Any, Any] = ((), ())
    if many:
        drawn = resampled_areas(truth, probabilities, many, groups, resamples=resamples, seed=seed)
    for k in known:
        auroc, auprc = rows[k]["auroc"], rows[k]["auprc"]
        found[k] = {
            "auroc": auroc_interval(auroc, *patients[k]),
            "auprc": Interval(*wilson_interval(auprc, patients[k][0], NORMAL_QUANTILE), "wilson"),
        }
        for name, value, areas in zip(("auroc", "auprc"), (auroc, auprc), drawn, strict=True):
            if k in many and allows_bootstrap(value, *patients[k]):
                found[k][name] = percentile_interval(areas[:, many.index(k)])
    values = [rows[k]["auroc"] for k in known]
    if {one.method for one in _present([found[k]["auroc"] for k in known])} == {"bootstrap"}:
        return found, percentile_interval(mean_of_known_classes(drawn[0]))
    return found, mean_of_intervals(values, _present([found[k]["auroc"] for k in known]), independent=False)


def overall_intervals(
    truth: Indices,
    predicted: Indices,
    probabilities: Floats,
    rows: Sequence[Row],
    per_class: list[Intervals],
    *,
    groups: Indices,
    resamples: int,
    seed: int,
) -> Intervals:
    """Compute the intervals of `accuracy`, `balanced_accuracy`, `macro_f1`, `weighted_f1`, `log_loss` and `brier`.

    Args:
        truth: int64 [N], indices of the true classes.
        predicted: int64 [N], indices of the predicted classes.
        probabilities: float64 [N, K], NaN in the column of a class that the model does not know.
        rows: the figures of each class.
        per_class: the intervals of each class, from `class_intervals`.
        groups: int64 [N], number of the patient of each image.
        resamples: number of resamples.
        seed: seed of the random generator.
    """
    right = truth == predicted
    found: Intervals = {"accuracy": proportion_interval(right, np.ones_like(right), groups)}
    occurring = [k for k, row in enumerate(rows) if row["recall"] is not None]
    recalls = _present([per_class[k]["recall"] for k in occurring])
    found["balanced_accuracy"] = mean_of_intervals([rows[k]["recall"] for k in occurring], recalls, independent=True)
    if min(_patients(groups, right), _patients(groups, ~right)) >= MIN_PATIENTS:
        confusion = resampled_confusion(truth, predicted, len(rows), groups, resamples=resamples, seed=seed)
        absent = len(set(predicted.tolist()) - set(truth.tolist()))
        found["macro_f1"], found["weighted_f1"] = map(percentile_interval, _f1(confusion, absent))
    else:
        f1 = [rows[k]["f1"] for k in occurring]
        macro = mean_of_intervals(f1, _present([per_class[k]["f1"] for k in occurring]), independent=False)
        share = len(occurring) / len(
            set(truth.tolist()) | set(predicted.tolist())
        )  # classes without images have F1 = 0
        found["macro_f1"] = Interval(macro.low * share, macro.high * share, macro.method)
        found["weighted_f1"] = None
    found["brier"], found["log_loss"] = _loss_intervals(truth, probabilities, groups, _patients(groups, ~right))
    return found


def _loss_intervals(
    truth: Indices, probabilities: Floats, groups: Indices, wrong: int
) -> tuple[Interval | None, Interval | None]:
    """Compute the intervals of the Brier score and the log loss, most of which a few mistakes (of `wrong` patients) make up."""
    if np.isnan(probabilities).any():
        return None, None
    terms = brier_terms(truth, probabilities)
    if wrong < MIN_FAILURES:
        return bounded_mean_interval(float(terms.mean()), len(np.unique(groups)), 2.0), None
    of_truth = np.maximum(probabilities[np.arange(len(truth)), truth], np.finfo(np.float32).eps)
    return mean_interval(terms, groups), mean_interval(-np.log(of_truth), groups)


def brier_terms(truth: Indices, probabilities: Floats) -> Floats:
    """Compute the squared distance of the probabilities of each image from its true class, float64 [N] in [0, 2]."""
    is_true = np.arange(probabilities.shape[1]) == truth[:, None]
    return np.asarray(((probabilities - is_true) ** 2).sum(axis=1))


def as_json(intervals: Intervals) -> dict[str, Any]:
    """Split intervals into the `intervals` [low, high] and the `interval_methods`, each by the name of the figure."""
    return {
        "intervals": {name: None if one is None else [one.low, one.high] for name, one in intervals.items()},
        "interval_methods": {name: one and one.method for name, one in intervals.items()},
    }


def _f1_of_jaccard(jaccard: Interval) -> Interval:
    low, high = (2 * bound / (1 + bound) for bound in jaccard[:2])
    return Interval(low, high, jaccard.method)


def _f1(confusion: Floats, absent: int) -> tuple[Floats, Floats]:
    """Compute macro and weighted F1 of resampled confusion matrices, float64 [R, K, K], each float64 [R].

    Macro F1 is the mean over the classes with images in a resample and the `absent` ones, which are predicted for some image
    but have none, and whose F1 is 0. Were they counted only where they are drawn, the mean would jump between resamples.
    """
    correct = np.diagonal(confusion, axis1=1, axis2=2)
    support = confusion.sum(axis=2)
    f1 = 2 * correct / np.maximum(support + confusion.sum(axis=1), 1)  # 2 TP / (2 TP + FP + FN)
    return f1.sum(axis=1) / (np.count_nonzero(support, axis=1) + absent), (f1 * support).sum(axis=1) / support.sum(
        axis=1
    )


def allows_bootstrap(area: float, positives: int, negatives: int) -> bool:
    """Say whether the patients with and without a class are enough to bootstrap an area, which may be near 0 or 1."""
    fewer = min(positives, negatives)
    return fewer >= MIN_PATIENTS and min(area, 1 - area) * fewer >= MIN_FAILURES


def _patients(groups: Indices, chosen: NDArray[np.bool_]) -> int:
    return len(np.unique(groups[chosen]))


def _present(intervals: Sequence[Interval | None]) -> list[Interval]:
    return [one for one in intervals if one is not None]
