"""Operating points of a class: thresholds of its probability, chosen on some images and applied to others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.class_intervals import as_json
from cxr_ray.metrics.intervals import proportion_interval

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def choose_thresholds(positive: Flags, score: Floats, *, sensitivity: float, specificity: float) -> dict[str, Any]:
    """Choose three thresholds on an ROC curve; an image is called positive if its score is at least the threshold.

    Args:
        positive: bool [N], True for an image of the class; both kinds occur.
        score: float64 [N], probability of the class.
        sensitivity: least sensitivity of the second threshold.
        specificity: least specificity of the third threshold.

    Returns:
        `youden`, the threshold with the largest sensitivity + specificity (Youden 1950), `sensitivity`, the highest one of at
        least that sensitivity, and `specificity`, the lowest one of at least that specificity; each a dict of `threshold` and
        of the `sensitivity` and `specificity` on these images.
    """
    from sklearn.metrics import roc_curve

    alarms, hits, thresholds = roc_curve(positive, score, drop_intermediate=False)
    thresholds[0] = np.nextafter(score.max(), np.inf)  # roc_curve says infinity: nobody is called positive
    near = 1e-12  # sums of fractions of images round
    chosen = {
        "youden": int(np.argmax(hits - alarms)),
        "sensitivity": int(np.flatnonzero(hits >= sensitivity - near)[0]),
        "specificity": int(np.flatnonzero(1 - alarms >= specificity - near)[-1]),
    }
    return {
        rule: {
            "threshold": float(thresholds[at]),
            "sensitivity": float(hits[at]),
            "specificity": float(1 - alarms[at]),
        }
        for rule, at in chosen.items()
    }


def figures_at(threshold: float, positive: Flags, score: Floats, groups: Indices) -> dict[str, Any]:
    """Compute sensitivity, specificity, PPV and NPV with 95 % intervals at a threshold, ready for strict JSON.

    Args:
        threshold: least score of an image that is called positive.
        positive: bool [N], True for an image of the class.
        score: float64 [N], probability of the class.
        groups: int64 [N], number of the patient of each image.

    Returns:
        The figures, `n_called`, the number of images that are called positive, `intervals` and `interval_methods`; a figure
        without images is None.
    """
    called = score >= threshold
    parts = {
        "sensitivity": (called, positive),
        "specificity": (~called, ~positive),
        "ppv": (positive, called),
        "npv": (~positive, ~called),
    }
    figures = {
        name: float((part & whole).sum() / whole.sum()) if whole.any() else None
        for name, (part, whole) in parts.items()
    }
    intervals = {name: proportion_interval(part, whole, groups) for name, (part, whole) in parts.items()}
    return {"n_called": int(called.sum())} | figures | as_json(intervals)
