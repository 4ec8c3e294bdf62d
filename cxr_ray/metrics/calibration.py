"""Calibration: probabilities that mean what they say."""

import numpy as np
from numpy.typing import NDArray

LOG_TEMPERATURE_BOUNDS = (-3.0, 3.0)


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Temperature by which logits are divided so that the log loss of their softmax is least.

    One parameter, fitted on images that did not train the model, never changes a label (Guo et al. 2017, "On
    Calibration of Modern Neural Networks", section 4.2).

    Args:
        logits: float [N, K].
        truth: class indices [N].
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def log_loss(log_temperature: float) -> float:
        scaled = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(log_loss, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded")
    return float(np.exp(found.x))
