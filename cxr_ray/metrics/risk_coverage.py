"""Whether a segmenter knows when it fails: its uncertainty beside the error that a true mask tells."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_IMAGES = 3
CURVE_POINTS = 20


def uncertainty_metrics(uncertainty: NDArray[np.float64], error: NDArray[np.float64]) -> dict[str, Any] | None:
    """Rank correlation and risk-coverage curve (Geifman & El-Yaniv, arXiv:1705.08500), ready for strict JSON.

    Args:
        uncertainty: float64 [N], NaN where a segmenter does not say.
        error: float64 [N], 1 - DSC; NaN where there was no comparison.

    Returns:
        `n`; `spearman` of both, None where one of them is the same for all; `risk_at_coverage`, a list of
        [coverage, mean error of that share of the images, the surest first]; `aurc`, the area below the whole curve;
        `aurc_random`, what it is if uncertainty says nothing; `aurc_ideal`, if it ranked images by their error. None
        of fewer than 3 images.
    """
    from scipy import stats

    known = np.isfinite(uncertainty) & np.isfinite(error)
    if known.sum() < LEAST_IMAGES:
        return None
    uncertainty, error = uncertainty[known], error[known]
    risks = running_risk(error[np.argsort(uncertainty, kind="stable")])
    tells = len(np.unique(uncertainty)) > 1 and len(np.unique(error)) > 1
    count = len(error)
    shown = np.unique(np.ceil(np.linspace(1 / CURVE_POINTS, 1, CURVE_POINTS) * count).astype(int))
    return {
        "n": count,
        "spearman": float(stats.spearmanr(uncertainty, error).statistic) if tells else None,
        "risk_at_coverage": [[float(kept / count), float(risks[kept - 1])] for kept in shown],
        "aurc": float(risks.mean()),
        "aurc_random": float(error.mean()),
        "aurc_ideal": float(running_risk(np.sort(error)).mean()),
    }


def running_risk(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the first 1, 2, ... N errors, float64 [N]."""
    return np.asarray(np.cumsum(error) / np.arange(1, len(error) + 1))


def told(metrics: dict[str, Any]) -> str:
    """The figures on one line."""
    spearman = "-" if metrics["spearman"] is None else f"{metrics['spearman']:.3f}"
    kept = {round(coverage, 2): risk for coverage, risk in metrics["risk_at_coverage"]}
    surest = min(kept, key=lambda coverage: abs(coverage - 0.8))
    return (
        f"uncertainty against 1 - DSC: Spearman {spearman} over {metrics['n']:,} images; mean error {kept[max(kept)]:.4f}, "
        f"of the surest {surest:.0%} {kept[surest]:.4f}; AURC {metrics['aurc']:.4f} "
        f"(random {metrics['aurc_random']:.4f}, ideal {metrics['aurc_ideal']:.4f})"
    )
