"""Summaries of the metrics of many segmentations: means with 95 % t intervals, and differences on the same images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.intervals import t_interval
from cxr_ray.metrics.segmentation import FRACTIONS

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Summary = dict[str, Any]
"""`n, mean, sd, median, interval`, ready for strict JSON; a value that cannot be computed is None."""


def summarise(values: Mapping[str, Floats], groups: Indices) -> dict[str, Summary]:
    """Compute the mean, sample standard deviation, median and 95 % t interval of the mean for each metric.

    The interval takes patients as the independent units (`intervals.t_interval`). That of a fraction ends at 0 and 1, and
    that of a distance at 0. There is none for fewer than two patients, or where all values are equal.

    Args:
        values: float64 [N], N >= 0, for each metric; NaN where an image has no value, so that `n` excludes the image.
        groups: int64 [N], number of the patient of each image.

    Returns:
        A `Summary` for each metric.
    """
    return {metric: _summary(of_all, groups, (0.0, _highest(metric))) for metric, of_all in values.items()}


def summarise_differences(
    first: Mapping[str, Floats], second: Mapping[str, Floats], groups: Indices
) -> dict[str, Summary]:
    """Summarise `first` minus `second`, the metrics of the same images, with a paired t interval of each mean.

    Args:
        first: float64 [N] for each metric; NaN where an image has no value.
        second: float64 [N] for each metric of `first`.
        groups: int64 [N], number of the patient of each image.
    """
    return {metric: _summary(values - second[metric], groups, (-np.inf, np.inf)) for metric, values in first.items()}


def _highest(metric: str) -> float:
    """Largest value of a metric, which may have a prefix such as `right_`."""
    return 1.0 if metric.endswith(FRACTIONS) else np.inf


def _summary(values: Floats, groups: Indices, bounds: tuple[float, float]) -> Summary:
    is_known = np.isfinite(values)
    known = values[is_known]
    interval = t_interval(known, groups[is_known]) if len(known) else None
    return {
        "n": len(known),
        "mean": float(known.mean()) if len(known) else None,
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "median": float(np.median(known)) if len(known) else None,
        "interval": None if interval is None else [max(interval.low, bounds[0]), min(interval.high, bounds[1])],
    }
