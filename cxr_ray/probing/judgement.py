"""Judge a probe by patients that it has not seen: cross-validation, a test split, and a learning curve."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_ray.metrics.classification import classification_metrics
from cxr_ray.metrics.grouped_intervals import grouped_intervals
from cxr_ray.probing.folds import grouped_folds
from cxr_ray.probing.labelled_embeddings import LabelledEmbeddings
from cxr_ray.probing.linear_probe import LinearProbe, fit_probe
from cxr_ray.probing.neighbours import neighbour_probabilities

LEAST_OF_A_CLASS = 8
"""Images of the smallest part of a learning curve, for each class."""


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """What the probes of all folds said of the images that they had not seen.

    Attributes:
        fold: int64 [N], the fold in which each image was left out.
        logits: float64 [N, K] of the linear probes.
        votes: shares of the votes of the nearest neighbours, float64 [N, K], by their number.
        strengths: the C that each fold chose.
    """

    fold: np.ndarray
    logits: np.ndarray
    votes: dict[int, np.ndarray]
    strengths: list[float]


def cross_validate(data: LabelledEmbeddings, *, folds: int, balanced: bool, seed: int) -> CrossValidation:
    """Leave out one fold of patients after the other, and let probes of the others predict it."""
    classes = len(data.labels)
    fold = grouped_folds(data.truth, data.groups, folds=folds, seed=seed)
    logits, strengths, votes = np.zeros((len(fold), classes)), [], dict[int, np.ndarray]()
    for number in range(folds):
        left_out = fold == number
        train = data.part(~left_out)
        probe = fitted(train, balanced=balanced, seed=seed)
        logits[left_out] = probe.logits(data.vectors[left_out])
        strengths.append(probe.strength)
        found = neighbour_probabilities(
            train.vectors, train.truth, data.vectors[left_out], classes=classes, balanced=balanced
        )
        for count, shares in found.items():
            votes.setdefault(count, np.zeros_like(logits))[left_out] = shares
    return CrossValidation(fold=fold, logits=logits, votes=votes, strengths=strengths)


def fitted(data: LabelledEmbeddings, *, balanced: bool, seed: int) -> LinearProbe:
    """The linear probe of all images of `data`."""
    return fit_probe(data.vectors, data.truth, data.groups, classes=len(data.labels), balanced=balanced, seed=seed)


def judged(data: LabelledEmbeddings, probabilities: np.ndarray) -> dict[str, Any]:
    """Metrics of probabilities float64 [N, K] of the images of `data`, ready for strict JSON.

    They are those of `classification_metrics`, but the 95 % intervals are over whole patients, also for balanced accuracy.
    """
    predicted, classes = probabilities.argmax(1), len(data.labels)
    intervals = grouped_intervals(data.truth, predicted, data.groups, classes=classes)
    return (
        {"images": len(predicted), "patients": len(np.unique(data.groups))}
        | classification_metrics(data.truth, predicted, probabilities, data.labels)
        | {f"{name}_interval": interval for name, interval in intervals.items()}
    )


def learning_curve(
    data: LabelledEmbeddings, whole: CrossValidation, *, balanced: bool, seed: int
) -> list[dict[str, Any]]:
    """Accuracy by number of training images, from few to all: each fold learns from parts of the other folds.

    The parts are whole patients in random order, each part within the next larger one, which has twice the images.

    Args:
        data: the images.
        whole: their cross-validation, whose folds are used again.
        balanced: whether the classes count equally in the fits.
        seed: seed of the order of the patients.

    Returns:
        For each size the mean number of images, the accuracy and its interval; sizes at which a class is lacking are left out.
    """
    folds = range(len(whole.strengths))
    points = [_point(data, whole.logits, sum(int((whole.fold != number).sum()) for number in folds) / len(folds))]
    size = points[0]["images"] // 2
    while size >= LEAST_OF_A_CLASS * len(data.labels):
        logits, used = np.zeros_like(whole.logits), []
        for number in folds:
            part = _first_groups(data, whole.fold != number, size, seed=seed + number)
            if len(np.unique(data.truth[part])) < len(data.labels):
                return points[::-1]
            used.append(int(part.sum()))
            left_out = whole.fold == number
            logits[left_out] = fitted(data.part(part), balanced=balanced, seed=seed).logits(data.vectors[left_out])
        points.append(_point(data, logits, float(np.mean(used))))
        size //= 2
    return points[::-1]


def expected_accuracy(points: list[dict[str, Any]], times: float) -> float | None:
    """Accuracy with `times` as many images, if the error goes on to fall as a power of the number of images.

    Errors of learning curves mostly follow such a law (Figueroa et al. 2012, "Predicting sample size required for
    classification performance"); the power is fitted to the points by least squares on logarithms.

    Returns:
        The accuracy, 0 to 1; None with fewer than three points, a point without errors, or errors that do not fall.
    """
    errors = np.array([1 - point["accuracy"] for point in points])
    if len(points) < 3 or not errors.all():
        return None
    sizes = np.array([point["images"] for point in points])
    power = float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])
    return None if power >= 0 else float(1 - errors[-1] * times**power)


def _point(data: LabelledEmbeddings, logits: np.ndarray, images: float) -> dict[str, Any]:
    predicted = logits.argmax(1)
    intervals = grouped_intervals(data.truth, predicted, data.groups, classes=len(data.labels))
    return {
        "images": round(images),
        "accuracy": float((predicted == data.truth).mean()),
        "accuracy_interval": intervals["accuracy"],
    }


def _first_groups(data: LabelledEmbeddings, among: np.ndarray, size: int, *, seed: int) -> np.ndarray:
    """Whole groups in random order until there are `size` images, bool [N]."""
    names, counts = np.unique(data.groups[among], return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    last = int(np.searchsorted(np.cumsum(counts[order]), size)) + 1
    return among & np.isin(data.groups, names[order[:last]])
