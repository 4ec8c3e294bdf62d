"""Temperature scaling, which calibrates the probabilities of a classifier."""

import numpy as np
from numpy.typing import NDArray

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
