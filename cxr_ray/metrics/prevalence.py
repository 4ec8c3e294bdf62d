"""Predictive values of a test where the disease is rarer or more frequent than among the images that were evaluated."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.intervals import effective_trials

DRAWS = 20_000
PERCENT = (2.5, 97.5)
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]


def predictive_values(
    true: Flags, positive: Flags, groups: Indices, prevalence: float, *, seed: int = 0
) -> dict[str, Any]:
    """Compute PPV and NPV at a stated prevalence from sensitivity and specificity, by Bayes' rule.

    The intervals are percentiles of the predictive values of drawn sensitivities and specificities, each from the beta
    distribution of Jeffreys' interval at the number of independent images (`intervals.effective_trials`). A value of 0 or 1
    is within its interval.

    Args:
        true: bool [N], images of the class.
        positive: bool [N], images that are predicted as the class.
        groups: int64 [N], number of the patient of each image.
        prevalence: fraction of patients who have the disease, between 0 and 1, both excluded.
        seed: seed of the random generator.

    Returns:
        `prevalence`, `ppv`, `npv` and `intervals` of both, ready for strict JSON. A value is None where nothing is known
        about sensitivity or specificity, or where no image would be predicted as the class (or none as another).
    """
    result: dict[str, Any] = {"prevalence": prevalence, "ppv": None, "npv": None}
    if true.all() or not true.any():
        return result | {"intervals": {"ppv": None, "npv": None}}
    generator = np.random.default_rng(seed)
    found = _by_bayes(float(positive[true].mean()), float((~positive[~true]).mean()), prevalence)
    sensitivities = _drawn(generator, positive[true], groups[true])
    specificities = _drawn(generator, ~positive[~true], groups[~true])
    draws = _by_bayes(sensitivities, specificities, prevalence)
    intervals: dict[str, list[float] | None] = {}
    for name, value, drawn in zip(("ppv", "npv"), found, draws, strict=True):
        known = bool(np.isfinite(value))
        result[name] = float(value) if known else None
        low, high = np.percentile(drawn, PERCENT)
        intervals[name] = [float(min(low, value)), float(max(high, value))] if known else None
    return result | {"intervals": intervals}


def _drawn(generator: np.random.Generator, hits: Flags, groups: Indices) -> NDArray[np.float64]:
    trials, _ = effective_trials(hits.astype(np.float64), groups)
    share = float(hits.mean())
    return generator.beta(share * trials + 0.5, (1 - share) * trials + 0.5, size=DRAWS)


def _by_bayes(sensitivity: Any, specificity: Any, prevalence: float) -> tuple[Any, Any]:
    """Compute PPV and NPV of numbers or arrays; NaN where a denominator is zero."""
    with np.errstate(invalid="ignore"):
        hits = np.multiply(sensitivity, prevalence)
        alarms = np.subtract(1, specificity) * (1 - prevalence)
        rest = np.multiply(specificity, 1 - prevalence)
        missed = np.subtract(1, sensitivity) * prevalence
        return hits / (hits + alarms), rest / (rest + missed)
