"""Interval of the expected calibration error, and the error that chance alone makes of perfect calibration.

The error is a sum of absolute values, so that chance makes it larger, never smaller: of 200 images, that of a perfectly calibrated
classifier is about 0.06. Resampling adds to it once more, and the interval of a bootstrap holds the truth of such a
classifier in about half of all samples. Here, hypotheses are tested instead: how often would a classifier whose bins have these
accuracies make an error as large, or as small, as the one that was seen?
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.intervals import LEVEL, effective_trials
from cxr_ray.metrics.paired import BINS

TAIL = (1 - LEVEL) / 2
MAX_STEPS = 10.0
"""Most standard errors by which the accuracies of a hypothesis differ from those that were seen."""
HALVINGS = 14
ROUNDING = 1e-12

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bins:
    """The B bins of confidence that hold images."""

    images: Indices
    """Number of images, int64 [B]."""
    confidence: Floats
    """Mean confidence, float64 [B] in [0, 1]."""
    accuracy: Floats
    """Accuracy, float64 [B] in [0, 1]."""
    spread: float
    """Standard error of an accuracy divided by that of independent images, at least 1."""
    resamples: int
    """Number of errors that `drawn` draws."""
    seed: int
    """Seed of the random generator."""

    def error(self, accuracy: Floats) -> Floats:
        """Compute the calibration error of accuracies float64 [..., B], float64 [...]."""
        return np.asarray((self.images * np.abs(accuracy - self.confidence)).sum(axis=-1) / self.images.sum())

    def drawn(self, accuracy: Floats) -> Floats:
        """Draw the errors, float64 [resamples], of as many images whose true accuracies are float64 [B]."""
        generator = np.random.default_rng(self.seed)
        found = generator.binomial(self.images, accuracy, size=(self.resamples, len(accuracy))) / self.images
        return self.error(accuracy + self.spread * (found - accuracy))

    def standard_error(self) -> Floats:
        """Compute the standard error of each accuracy if the calibration is perfect, float64 [B], > 0."""
        share = (self.images * self.confidence + 0.5) / (self.images + 1)
        return np.asarray(self.spread * np.sqrt(share * (1 - share) / self.images))


def ece_evidence(
    truth: Indices, probabilities: Floats, groups: Indices, *, resamples: int, seed: int = 0
) -> dict[str, Any]:
    """Compute what N images say of the expected calibration error, ready for strict JSON.

    Args:
        truth: int64 [N], indices of the true classes.
        probabilities: float64 [N, K], rows that sum to 1, all finite.
        groups: int64 [N], number of the patient of each image.
        resamples: number of simulated samples of each hypothesis.
        seed: seed of the random generator.

    Returns:
        `ece_interval`, a 95 % interval [low, high] that holds the error itself; `low` is 0 unless perfect calibration is rejected.
        `ece_by_chance`, the mean error that perfect calibration would show in as many images of the same confidence.
    """
    bins = _bins(truth, probabilities, groups, resamples, seed)
    value = float(bins.error(bins.accuracy))
    interval = [min(_lowest(bins, value), value), max(_highest(bins, value), value)]
    return {"ece_interval": interval, "ece_by_chance": float(bins.drawn(bins.confidence).mean())}


def _bins(truth: Indices, probabilities: Floats, groups: Indices, resamples: int, seed: int) -> Bins:
    confidence = np.minimum(probabilities.max(axis=1), 1.0)  # the sum of a row may round to more
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    numbers = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    images = np.bincount(numbers, minlength=BINS)
    held = images > 0
    sums = [np.bincount(numbers, values, minlength=BINS)[held] for values in (confidence, right)]
    trials, _ = effective_trials(right, groups)
    return Bins(
        images=images[held],
        confidence=sums[0] / images[held],
        accuracy=sums[1] / images[held],
        spread=float(np.sqrt(len(truth) / trials)),
        resamples=resamples,
        seed=seed,
    )


def _lowest(bins: Bins, value: float) -> float:
    """Find the least error of a hypothesis that reaches `value`: accuracies that are nearer to the confidences."""
    gap, step = bins.accuracy - bins.confidence, bins.standard_error()

    def nearer(steps: float) -> Floats:
        return np.asarray(bins.confidence + np.sign(gap) * np.maximum(np.abs(gap) - steps * step, 0))

    def is_possible(steps: float) -> bool:
        return bool(np.mean(bins.drawn(nearer(steps)) >= value - ROUNDING) >= TAIL)

    return float(bins.error(nearer(_last(is_possible, float((np.abs(gap) / step).max())))))


def _highest(bins: Bins, value: float) -> float:
    """Find the largest error of a hypothesis that stays at `value`: all accuracies farther off, all lower, or all higher."""
    step, highest = bins.standard_error(), value
    for direction in (np.sign(bins.accuracy - bins.confidence), -1.0, 1.0):

        def farther(steps: float, direction: Any = direction) -> Floats:
            return np.asarray(np.clip(bins.accuracy + direction * steps * step, 0, 1))

        def is_possible(steps: float, farther: Callable[[float], Floats] = farther) -> bool:
            return bool(np.mean(bins.drawn(farther(steps)) <= value + ROUNDING) >= TAIL)

        if is_possible(0.0):
            highest = max(highest, float(bins.error(farther(_last(is_possible, MAX_STEPS)))))
    return highest


def _last(is_possible: Callable[[float], bool], end: float) -> float:
    """Find the number of steps from 0 to `end` up to which a hypothesis is possible, by halving."""
    if is_possible(end):
        return end
    low, high = 0.0, end
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_possible(middle) else (low, middle)
    return low
