"""Tests of whether two samples come from one distribution, with effect sizes from 0 (equal) to 1 (nothing in common)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_EXPECTED = 5.0
"""Least expected count of a cell of a contingency table for the chi-square distribution (Cochran 1954)."""
RESAMPLES = 9999
MIN_VALUES = 2


def compare_numbers(reference: NDArray[np.float64], current: NDArray[np.float64]) -> dict[str, Any]:
    """Compare numbers by the two-sample Kolmogorov-Smirnov test.

    Args:
        reference: float64 [N], all finite.
        current: float64 [M], all finite.

    Returns:
        `test`; `n_reference` and `n_current`; `statistic` and `effect`, both the largest distance of the two distribution
        functions; `p_value`; and `reference` and `current`, the median of each. Statistic, effect and p-value are None where a
        sample has fewer than two values.
    """
    from scipy.stats import ks_2samp

    result: dict[str, Any] = {"test": "ks", "n_reference": len(reference), "n_current": len(current)}
    result |= {
        "reference": float(np.median(reference)) if len(reference) else None,
        "current": float(np.median(current)) if len(current) else None,
    }
    if min(len(reference), len(current)) < MIN_VALUES:
        return result | {"statistic": None, "effect": None, "p_value": None}
    found = ks_2samp(reference, current)
    return result | {
        "statistic": float(found.statistic),
        "effect": float(found.statistic),
        "p_value": float(found.pvalue),
    }


def compare_categories(reference: Sequence[str], current: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Compare categories by Pearson's chi-square test of homogeneity.

    Where an expected count is below 5, the p-value comes from resampled tables with the same sums of rows and columns, not
    from the chi-square distribution.

    Args:
        reference: N values.
        current: M values.
        seed: seed of the resampling.

    Returns:
        `test`, `chi2` or `chi2_resampled`; `n_reference` and `n_current`; `statistic`; `effect`, the total variation
        distance: half the sum of absolute differences of the fractions of all values; `p_value`; and `reference` and `current`, the
        fraction of each value. Statistic, effect and p-value are None where a sample is empty.
    """
    from scipy.stats import chi2_contingency

    names = sorted({*reference, *current})
    sides = (np.asarray(side, dtype=object) for side in (reference, current))
    counts = np.array([[np.count_nonzero(side == name) for name in names] for side in sides])
    totals = counts.sum(axis=1)
    result: dict[str, Any] = {"test": "chi2", "n_reference": len(reference), "n_current": len(current)}
    fractions = counts / np.maximum(totals, 1)[:, None]
    for side, row in zip(("reference", "current"), fractions, strict=True):
        result[side] = {name: float(part) for name, part in zip(names, row, strict=True)}
    if not totals.all():
        return result | {"statistic": None, "effect": None, "p_value": None}
    effect = float(np.abs(fractions[0] - fractions[1]).sum() / 2)
    if len(names) == 1:
        return result | {"statistic": 0.0, "effect": 0.0, "p_value": 1.0}
    found = chi2_contingency(counts, correction=False)
    p_value = float(found.pvalue)
    if found.expected_freq.min() < MIN_EXPECTED:
        result["test"] = "chi2_resampled"
        p_value = _resampled_p_value(counts, float(found.statistic), found.expected_freq, seed)
    return result | {"statistic": float(found.statistic), "effect": effect, "p_value": p_value}


def _resampled_p_value(counts: NDArray[np.int64], statistic: float, expected: NDArray[np.float64], seed: int) -> float:
    """Compute the fraction of tables of the same sums that are at least as far from the expected one, this one included."""
    from scipy.stats import random_table

    tables = random_table(counts.sum(axis=1), counts.sum(axis=0), seed=seed).rvs(RESAMPLES)
    far = ((tables - expected) ** 2 / expected).sum(axis=(1, 2)) >= statistic * (1 - 1e-9)
    return float((far.sum() + 1) / (RESAMPLES + 1))
