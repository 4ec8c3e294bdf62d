"""Metrics of a classifier, computed from the true and the predicted classes as NumPy arrays.

In every function, `truth` and `predicted` are int64 [N], N >= 1, indices into `labels` (K names), and `probabilities`
is float64 [N, K] in [0, 1], with NaN in the column of a class that the model does not know.
A metric whose denominator is zero is None, so that it becomes `null` in JSON and never a misleading 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.class_intervals import (
    area_intervals,
    as_json,
    brier_terms,
    class_intervals,
    overall_intervals,
)

RESAMPLES = 1000
INTERVAL_PERCENT = (2.5, 97.5)
MIN_PROBABILITY = float(np.finfo(np.float32).eps)  # probabilities are stored as float32

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


def classification_metrics(
    truth: Indices,
    predicted: Indices,
    probabilities: Floats,
    labels: Sequence[str],
    groups: Indices | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute all metrics of one evaluation with their 95 % confidence intervals, ready for strict JSON.

    Averages follow scikit-learn: macro F1 is the mean over the classes that occur in the truth or the predictions,
    balanced accuracy is the mean over the classes that occur in the truth. `class_intervals` explains the intervals.

    Args:
        truth: int64 [N], indices of the true classes.
        predicted: int64 [N], indices of the predicted classes.
        probabilities: float64 [N, K], NaN in the column of a class that the model does not know.
        labels: names of the K classes.
        groups: int64 [N], number of the patient of each image; None if every image is of a patient of its own.
        resamples: number of bootstrap resamples, where an interval needs them.
        seed: seed of the bootstrap.
    """
    from sklearn.metrics import accuracy_score, f1_score

    groups = np.arange(len(truth)) if groups is None else groups
    drawing = {"resamples": resamples, "seed": seed}
    per_class = per_class_metrics(truth, predicted, probabilities, labels)
    rows = list(per_class.values())
    intervals = class_intervals(truth, predicted, len(labels), groups)
    areas, of_macro_auroc = area_intervals(truth, probabilities, rows, groups, **drawing)
    overall = overall_intervals(truth, predicted, probabilities, rows, intervals, groups=groups, **drawing)
    overall["macro_auroc"] = of_macro_auroc
    of_accuracy, of_f1 = overall["accuracy"], overall["macro_f1"]
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "accuracy_interval": of_accuracy and list(of_accuracy[:2]),
        "balanced_accuracy": _mean_of_known([row["recall"] for row in rows]),
        "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
        "macro_f1_interval": of_f1 and list(of_f1[:2]),
        "bootstrap_resamples": resamples,
        "bootstrap_seed": seed,
        "n_patients": len(np.unique(groups)),
        "weighted_f1": float(f1_score(truth, predicted, average="weighted", zero_division=0)),
        "macro_auroc": _mean_of_known([row["auroc"] for row in rows]),
        "log_loss": log_loss(truth, probabilities),
        "brier": brier_score(truth, probabilities),
        **as_json(overall),
        "labels": list(labels),
        "per_class": {
            label: row | as_json(of_class | of_areas)
            for (label, row), of_class, of_areas in zip(per_class.items(), intervals, areas, strict=True)
        },
        "confusion_matrix": confusion_matrix(truth, predicted, len(labels)).tolist(),
    }


def confusion_matrix(truth: Indices, predicted: Indices, classes: int) -> Indices:
    """Count the images, int64 [K, K], by true class (rows) and predicted class (columns).

    Unlike the function of scikit-learn, this one does not warn when only one class occurs.

    Args:
        truth: int64 [N], indices of the true classes, 0 to K - 1.
        predicted: int64 [N], indices of the predicted classes, 0 to K - 1.
        classes: K, the number of classes.
    """
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def per_class_metrics(
    truth: Indices, predicted: Indices, probabilities: Floats, labels: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    """Compute the metrics of each label, one versus rest.

    They are precision (PPV), recall (sensitivity), specificity, NPV, F1, AUROC, AUPRC (average precision), support and
    prevalence. A metric that does not exist is None: recall, F1, AUROC and AUPRC of a class without images, precision of a
    class that is never predicted, NPV of one that is always predicted, and specificity of one that every image has.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=range(len(labels)), zero_division=np.nan
    )
    neither = [int(((truth != k) & (predicted != k)).sum()) for k in range(len(labels))]
    return {
        label: {
            "precision": _known(precision[k]),
            "recall": _known(recall[k]),
            "specificity": _ratio(neither[k], len(truth) - int(support[k])),
            "npv": _ratio(neither[k], int((predicted != k).sum())),
            "f1": _known(f1[k]) if support[k] else None,
            "auroc": auroc(truth == k, probabilities[:, k]),
            "auprc": auprc(truth == k, probabilities[:, k]),
            "support": int(support[k]),
            "prevalence": int(support[k]) / len(truth),
        }
        for k, label in enumerate(labels)
    }


def auroc(positive: NDArray[np.bool_], score: Floats) -> float | None:
    """Compute the area under the ROC curve, in [0, 1].

    Args:
        positive: bool [N], True for an image of the class.
        score: float64 [N], higher for an image that is more likely to be of the class.

    Returns:
        The area; None if all images are positive, all are negative, or a score is NaN.
    """
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any() or np.isnan(score).any():
        return None
    return float(roc_auc_score(positive, score))


def auprc(positive: NDArray[np.bool_], score: Floats) -> float | None:
    """Compute the average precision, in [0, 1], which is the area under the precision-recall curve without interpolation.

    Args:
        positive: bool [N], True for an image of the class.
        score: float64 [N], higher for an image that is more likely to be of the class.

    Returns:
        The area; None if all images are positive, all are negative, or a score is NaN.
    """
    from sklearn.metrics import average_precision_score

    if positive.all() or not positive.any() or np.isnan(score).any():
        return None
    return min(float(average_precision_score(positive, score)), 1.0)  # its sum may round to more than 1


def brier_score(truth: Indices, probabilities: Floats) -> float | None:
    """Compute the mean squared distance of the probabilities from the true class, in [0, 2] (Brier 1950).

    It sums over the classes; for two classes it is twice scikit-learn's `brier_score_loss`.

    Returns:
        The score; None if there is a class that the model does not know.
    """
    return _known(brier_terms(truth, probabilities).mean())


def log_loss(truth: Indices, probabilities: Floats) -> float | None:
    """Compute the mean negative log probability of the true class, in nats; None if the model does not know a true class."""
    of_truth = probabilities[np.arange(len(truth)), truth]
    return _known(-np.log(np.maximum(of_truth, MIN_PROBABILITY)).mean())


def report_text(truth: Indices, predicted: Indices, labels: Sequence[str]) -> str:
    """Write scikit-learn's `classification_report` with two digits; it shows an undefined metric as 0.00."""
    from sklearn.metrics import classification_report

    names = np.array(labels)
    return str(classification_report(names[truth], names[predicted], digits=2, zero_division=0))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean_of_known(values: Sequence[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
