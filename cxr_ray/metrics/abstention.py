"""Abstention: a classifier that leaves the images of low confidence to a reader."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.class_intervals import as_json
from cxr_ray.metrics.intervals import proportion_interval

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def choose_abstention(confidence: Floats, right: Flags, accuracy: float) -> float | None:
    """Choose the lowest confidence at which the images of at least this confidence reach an accuracy.

    Args:
        confidence: float64 [N], N >= 1.
        right: bool [N], whether the prediction is right.
        accuracy: the accuracy to reach.

    Returns:
        The threshold, which is one of the confidences; None if no threshold reaches the accuracy.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # images of equal confidence are kept together
    reached = last & (np.cumsum(right[order]) / np.arange(1, len(order) + 1) >= accuracy - 1e-12)
    return float(ordered[np.flatnonzero(reached)[-1]]) if reached.any() else None


def figures_of_abstention(threshold: float, confidence: Floats, right: Flags, groups: Indices) -> dict[str, Any]:
    """Compute what a classifier reaches that abstains below a confidence, with 95 % intervals, ready for strict JSON.

    Args:
        threshold: least confidence of an image that is classified.
        confidence: float64 [N].
        right: bool [N], whether the prediction is right.
        groups: int64 [N], number of the patient of each image.

    Returns:
        `n_kept`; `coverage`, the fraction of images that are classified; `accuracy`, that of these images;
        `accuracy_of_the_others`, which a reader sees; `intervals` and `interval_methods`. A figure without images is None.
    """
    kept = confidence >= threshold
    parts = {
        "coverage": (kept, np.ones_like(kept)),
        "accuracy": (right, kept),
        "accuracy_of_the_others": (right, ~kept),
    }
    figures = {
        name: float((part & whole).sum() / whole.sum()) if whole.any() else None
        for name, (part, whole) in parts.items()
    }
    intervals = {name: proportion_interval(part, whole, groups) for name, (part, whole) in parts.items()}
    return {"n_kept": int(kept.sum())} | figures | as_json(intervals)
