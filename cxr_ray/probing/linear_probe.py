"""Logistic regression on embeddings, whose strength is chosen by patients that were left out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_ray.probing.folds import grouped_folds

INNER_FOLDS = 3
STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(-10, 5))
"""Inverse strengths C of the L2 penalty, from strong to weak; those after one that did not help are not tried."""
SEARCH = {"tol": 1e-3, "max_iter": 200}
FIT = {"tol": 1e-5, "max_iter": 2_000}
"""When scikit-learn's solver stops: sooner while C is searched for, each step of which starts from the one before."""
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """A linear layer on embeddings, which are not scaled before.

    Attributes:
        weights: float64 [K, D].
        bias: float64 [K].
        strength: the chosen C of `STRENGTHS`.
    """

    weights: np.ndarray
    bias: np.ndarray
    strength: float

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """Logits float64 [N, K] of embeddings [N, D]."""
        return np.asarray(vectors.astype(np.float64) @ self.weights.T + self.bias)


def fit_probe(
    vectors: np.ndarray, truth: np.ndarray, groups: np.ndarray, *, classes: int, balanced: bool, seed: int
) -> LinearProbe:
    """Fit scikit-learn's logistic regression on standardised embeddings, and fold the scaling into its weights.

    C is that of `STRENGTHS` with the least log loss on inner folds, which keep groups together; each class counts equally
    in this loss if `balanced`. The scaling is that of all given images, also in the inner folds.

    Args:
        vectors: float32 [N, D].
        truth: int64 [N], each of the `classes` classes at least once.
        groups: int64 [N], group of each image, such as its patient.
        classes: number of classes K.
        balanced: whether the classes count equally in the fit.
        seed: seed of the inner folds.
    """
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaler = StandardScaler().fit(vectors)
    scaled = scaler.transform(vectors)
    fold = grouped_folds(truth, groups, folds=INNER_FOLDS, seed=seed)
    # The products are too small for several threads, which wait for each other: on busy cores that takes ten times as long.
    with threadpool_limits(limits=1):
        best = _best_strength(scaled, truth, fold, classes=classes, balanced=balanced)
        weights, bias = _layer(_model(balanced, C=best, **FIT).fit(scaled, truth))
    weights = weights / scaler.scale_
    return LinearProbe(weights=weights, bias=bias - weights @ scaler.mean_, strength=best)


def _best_strength(scaled: np.ndarray, truth: np.ndarray, fold: np.ndarray, *, classes: int, balanced: bool) -> float:
    """The C of the least log loss on the inner folds, int64 [N] in `fold`."""
    parts = [(fold != number, fold == number) for number in range(INNER_FOLDS)]
    models = [_model(balanced, warm_start=True, **SEARCH) for _ in parts]
    losses: list[float] = []
    for strength in STRENGTHS:
        losses.append(0.0)
        for model, (train, val) in zip(models, parts, strict=True):
            model.set_params(C=strength).fit(scaled[train], truth[train])
            found = _probabilities(model, scaled[val], classes)
            losses[-1] += _log_loss(found, truth[val], balanced) / len(parts)
        if losses[-1] > min(losses):
            break
    return STRENGTHS[int(np.argmin(losses))]


def _model(balanced: bool, **options: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(class_weight="balanced" if balanced else None, **options)


def _layer(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights float64 [K, D] and bias float64 [K] whose softmax gives the model's probabilities."""
    weights, bias = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if len(weights) == 1:  # two classes, of which scikit-learn keeps the difference
        return np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return weights, bias


def _probabilities(model: Any, scaled: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities float64 [N, K]; those of classes that the model has not seen are 0."""
    found = np.zeros((len(scaled), classes))
    found[:, model.classes_] = model.predict_proba(scaled)
    return found


def _log_loss(probabilities: np.ndarray, truth: np.ndarray, balanced: bool) -> float:
    """Mean negative log probability of the true class, as the mean over classes if `balanced`."""
    losses = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], LEAST_PROBABILITY))
    if not balanced:
        return float(losses.mean())
    return float(np.mean([losses[truth == number].mean() for number in np.unique(truth)]))
