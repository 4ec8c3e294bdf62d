"""Metrics of uncertainty: whether a segmenter is more uncertain about the images on which its error is larger."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_IMAGES = 3
CURVE_POINTS = 20


def uncertainty_metrics(uncertainty: NDArray[np.float64], error: NDArray[np.float64]) -> dict[str, Any] | None:
    """Compute the rank correlation and risk-coverage curve (Geifman & El-Yaniv, arXiv:1705.08500), ready for strict JSON.

    Args:
        uncertainty: float64 [N], NaN where the segmenter gives no uncertainty.
        error: float64 [N], 1 - DSC in [0, 1], NaN where no masks were compared.

    Returns:
        None if fewer than 3 images have both values, else a dict of
        `n`, the number of images that have both values;
        `spearman`, the rank correlation, None if all uncertainties or all errors are equal;
        `risk_at_coverage`, a list of [coverage, mean error of this fraction of the images, least uncertain first,
        and images of equal uncertainty in random order];
        `aurc`, the area below the curve;
        `aurc_random`, the expected area if uncertainty were random;
        `aurc_ideal`, the area if uncertainty ranked the images by their error.
    """
    from scipy import stats

    known = np.isfinite(uncertainty) & np.isfinite(error)
    if known.sum() < MIN_IMAGES:
        return None
    uncertainty, error = uncertainty[known], error[known]
    _, rank = np.unique(uncertainty, return_inverse=True)
    # Images of equal uncertainty have no order: each counts as their mean, which is its expected error in a random one.
    expected = (np.bincount(rank, error) / np.bincount(rank))[rank]
    risks = running_risk(expected[np.argsort(rank)])
    both_vary = len(np.unique(uncertainty)) > 1 and len(np.unique(error)) > 1
    count = len(error)
    shown = np.unique(np.ceil(np.linspace(1 / CURVE_POINTS, 1, CURVE_POINTS) * count).astype(int))
    return {
        "n": count,
        "spearman": float(stats.spearmanr(uncertainty, error).statistic) if both_vary else None,
        "risk_at_coverage": [[float(kept / count), float(risks[kept - 1])] for kept in shown],
        "aurc": float(risks.mean()),
        "aurc_random": float(error.mean()),
        "aurc_ideal": float(running_risk(np.sort(error)).mean()),
    }


def running_risk(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the mean of the first 1, 2, ..., N errors, float64 [N]."""
    return np.asarray(np.cumsum(error) / np.arange(1, len(error) + 1))


def uncertainty_line(metrics: dict[str, Any]) -> str:
    """Write the metrics that `uncertainty_metrics` returned as one line of text."""
    spearman = "-" if metrics["spearman"] is None else f"{metrics['spearman']:.3f}"
    kept = {round(coverage, 2): risk for coverage, risk in metrics["risk_at_coverage"]}
    near_80 = min(kept, key=lambda coverage: abs(coverage - 0.8))
    return (
        f"Uncertainty and error (1 - DSC) over {metrics['n']:,} images: Spearman correlation {spearman}; "
        f"mean error {kept[max(kept)]:.4f}, of the {near_80:.0%} least uncertain images {kept[near_80]:.4f}; "
        f"AURC {metrics['aurc']:.4f} (random order {metrics['aurc_random']:.4f}, ideal order {metrics['aurc_ideal']:.4f})"
    )
