"""Metrics of a classifier, computed from the true and the predicted classes as NumPy arrays.

In every function, `truth` and `predicted` are int64 [N], N >= 1, indices into `labels` (K names), and `probabilities`
is float64 [N, K] in [0, 1], with NaN in the column of a class that the model does not know.
A metric whose denominator is zero is None, so that it becomes `null` in JSON and never a misleading 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
INTERVAL_PERCENT = (2.5, 97.5)
MIN_PROBABILITY = float(np.finfo(np.float32).eps)  # probabilities are stored as float32

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


def classification_metrics(
    truth: Indices, predicted: Indices, probabilities: Floats, labels: Sequence[str]
) -> dict[str, Any]:
    """Compute all metrics of one evaluation, ready for strict JSON.

    Averages follow scikit-learn: macro F1 is the mean over the classes that occur in the truth or the predictions,
    balanced accuracy is the mean over the classes that occur in the truth.
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
    """Compute precision, recall (sensitivity), specificity, F1, AUROC (one versus rest) and support for each label.

    A metric that does not exist is None: recall, F1 and AUROC of a class without images, precision of a class that is
    never predicted, and specificity of a class that every image has.
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


def log_loss(truth: Indices, probabilities: Floats) -> float | None:
    """Compute the mean negative log probability of the true class, in nats; None if the model does not know a true class."""
    of_truth = probabilities[np.arange(len(truth)), truth]
    return _known(-np.log(np.maximum(of_truth, MIN_PROBABILITY)).mean())


def bootstrap_intervals(confusion: Indices, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, list[float]]:
    """Compute 95 % bootstrap percentile intervals of accuracy and macro F1.

    Both metrics depend on the images only through the confusion matrix. Drawing its K x K cells from a multinomial
    distribution is therefore equivalent to drawing N images with replacement, at a cost that does not grow with N.

    Args:
        confusion: int64 [K, K], rows true classes, columns predicted classes, with a sum N >= 1.
        resamples: number of bootstrap resamples.
        seed: seed of the random generator; the same matrix and seed always give the same intervals.

    Returns:
        The intervals `accuracy` and `macro_f1`, each a list [low, high].
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
