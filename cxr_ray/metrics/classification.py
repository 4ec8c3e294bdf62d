"""Figures of merit of a classifier, from truth and predictions as NumPy arrays.

Everywhere `truth` and `predicted` are int64 [N], N >= 1, indices into `labels` (K names), and `probabilities`
is float64 [N, K] in [0, 1], with NaN in the column of a class that the model does not know.
A figure whose denominator is zero is None, so that it becomes `null` in JSON and never a misleading 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
INTERVAL_PERCENT = (2.5, 97.5)
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)  # probabilities are stored as float32

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


def classification_metrics(
    truth: Indices, predicted: Indices, probabilities: Floats, labels: Sequence[str]
) -> dict[str, Any]:
    """All figures of one evaluation, ready for strict JSON.

    Averages follow scikit-learn: macro F1 runs over the classes that occur in truth or predictions, balanced
    accuracy over those that occur in truth.
    """
    from sklearn.metrics import accuracy_score, f1_score

    confusion = confusion_matrix(truth, predicted, len(labels))
    per_class = per_class_metrics(truth, predicted, probabilities, labels)
    intervals = bootstrap_intervals(confusion)
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "accuracy_interval": intervals["accuracy"],
        "balanced_accuracy": _mean_of_known([row["recall"] for row in per_class.values()]),
        "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
        "macro_f1_interval": intervals["macro_f1"],
        "bootstrap_resamples": RESAMPLES,
        "weighted_f1": float(f1_score(truth, predicted, average="weighted", zero_division=0)),
        "macro_auroc": _mean_of_known([row["auroc"] for row in per_class.values()]),
        "log_loss": log_loss(truth, probabilities),
        "labels": list(labels),
        "per_class": per_class,
        "confusion_matrix": confusion.tolist(),
    }


def confusion_matrix(truth: Indices, predicted: Indices, classes: int) -> Indices:
    """Counts [K, K], rows truth, columns predicted; unlike scikit-learn's, silent about a single class."""
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def per_class_metrics(
    truth: Indices, predicted: Indices, probabilities: Floats, labels: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    """Precision, recall (sensitivity), specificity, F1, AUROC (one versus rest) and support by label.

    A class without support has no recall, F1 or AUROC; one that was never predicted has no precision.
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
            "f1": _known(f1[k]) if support[k] else None,
            "auroc": auroc(truth == k, probabilities[:, k]),
            "support": int(support[k]),
        }
        for k, label in enumerate(labels)
    }


def auroc(positive: NDArray[np.bool_], score: Floats) -> float | None:
    """Area under the ROC curve; None unless positives, negatives and every score are there."""
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any() or np.isnan(score).any():
        return None
    return float(roc_auc_score(positive, score))


def log_loss(truth: Indices, probabilities: Floats) -> float | None:
    """Mean negative log probability of the true class, in nats; None if the model misses a true class."""
    of_truth = probabilities[np.arange(len(truth)), truth]
    return _known(-np.log(np.maximum(of_truth, LEAST_PROBABILITY)).mean())


def bootstrap_intervals(confusion: Indices, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, list[float]]:
    """95 % percentile intervals of accuracy and macro F1, drawing images with replacement.

    Both figures depend on the images only through the confusion matrix, so drawing N images is drawing its
    K x K cells from a multinomial: the same distribution at a cost that does not grow with N.

    Args:
        confusion: int [K, K], rows truth, columns predicted, with a sum of at least 1.
        resamples: how many archives of N images to draw.
        seed: of the generator; the same matrix always has the same interval.
    """
    total = confusion.sum()
    drawn = np.random.default_rng(seed).multinomial(total, confusion.ravel() / total, size=resamples)
    drawn = drawn.reshape(resamples, *confusion.shape)
    correct = np.diagonal(drawn, axis1=1, axis2=2)
    of_both = drawn.sum(axis=1) + drawn.sum(axis=2)  # 2 TP + FP + FN of each class
    f1 = 2 * correct / np.maximum(of_both, 1)
    samples = {
        "accuracy": correct.sum(axis=1) / total,
        "macro_f1": f1.sum(axis=1) / np.count_nonzero(of_both, axis=1),
    }
    return {name: np.percentile(values, INTERVAL_PERCENT).tolist() for name, values in samples.items()}


def report_text(truth: Indices, predicted: Indices, labels: Sequence[str]) -> str:
    """scikit-learn's `classification_report` with two digits; undefined figures stand as 0.00 there."""
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
