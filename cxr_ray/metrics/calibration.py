"""Calibration of a classifier: temperature scaling, and how far confidence is from accuracy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.class_intervals import NORMAL_QUANTILE, brier_terms
from cxr_ray.metrics.intervals import wilson_interval
from cxr_ray.metrics.paired import BINS, ece_terms

LOG_TEMPERATURE_BOUNDS = (-3.0, 3.0)


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Find the temperature T that minimises the log loss of softmax(logits / T).

    Temperature scaling has one parameter and never changes the predicted class (Guo et al. 2017, "On Calibration of
    Modern Neural Networks", section 4.2). The images must not be those that trained the model.

    Args:
        logits: float32 [N, K], N >= 1, all finite.
        truth: int64 [N], indices of the true classes, 0 to K - 1.

    Returns:
        The temperature, between exp(-3) and exp(3). It is 1, which changes nothing, where the images give no evidence: if
        the model is right about all of them, or the loss falls up to one of these bounds.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if (logits.argmax(1) == truth).all():
        return 1.0  # any probabilities could be surer without limit

    def log_loss(log_temperature: float) -> float:
        scaled = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(log_loss, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded")
    is_bound = np.isclose(np.abs(found.x), LOG_TEMPERATURE_BOUNDS[1], atol=0.01)
    return 1.0 if is_bound else float(np.exp(found.x))


def before_temperature(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Compute the probabilities that a model would give without its temperature, float64 [N, K].

    softmax(logits) is softmax(logits / T) to the power of T, normalised. Probabilities that are stored as 0 count as the
    smallest normal float32.

    Args:
        probabilities: float64 [N, K], softmax(logits / T), rows that sum to 1.
        temperature: T, > 0; 1 / T applies the temperature instead.
    """
    from scipy.special import softmax

    logs = np.log(np.maximum(probabilities, float(np.finfo(np.float32).tiny)))
    return np.asarray(softmax(logs * temperature, axis=1))


def calibration_metrics(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, Any]:
    """Compute how well the confidence of a classifier agrees with its accuracy, ready for strict JSON.

    Args:
        truth: int64 [N], indices of the true classes, N >= 1.
        probabilities: float64 [N, K], rows that sum to 1, all finite.

    Returns:
        `ece`, the expected calibration error in [0, 1] (Guo et al. 2017, equation 3) over `BINS` bins of equal width;
        `brier` in [0, 2] (Brier 1950), and `log_loss` in nats;
        `mean_confidence` and `accuracy`, whose difference is the overconfidence;
        `reliability`, for each bin that holds images its bounds `low` and `high`, the images `n`, their mean `confidence`,
        their `accuracy` and its 95 % `interval`, as if all images were of different patients.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    reliability = []
    for position in np.unique(bins):
        chosen = bins == position
        accuracy, count = float(right[chosen].mean()), int(chosen.sum())
        reliability.append(
            {
                "low": float(position / BINS),
                "high": float((position + 1) / BINS),
                "n": count,
                "confidence": float(confidence[chosen].mean()),
                "accuracy": accuracy,
                "interval": list(wilson_interval(accuracy, count, NORMAL_QUANTILE)),
            }
        )
    of_truth = np.maximum(probabilities[np.arange(len(truth)), truth], float(np.finfo(np.float32).eps))
    return {
        "ece": expected_calibration_error(truth, probabilities),
        "brier": float(brier_terms(truth, probabilities).mean()),
        "log_loss": float(-np.log(of_truth).mean()),
        "mean_confidence": float(confidence.mean()),
        "accuracy": float(right.mean()),
        "reliability": reliability,
    }


def expected_calibration_error(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Compute the expected calibration error, in [0, 1]: see `paired.ece_terms`, whose sums it needs."""
    return float(np.abs(ece_terms(truth, probabilities).sum(axis=0)).sum() / len(truth))
