"""95 % confidence intervals that have a formula, of proportions and means over images of which several may be of one patient.

A bootstrap of few images, or of a figure that is 0 or 1, is too narrow: it never draws a mistake that the images lack.
These intervals are not. `groups` is int64 [N] in every function, the number of the patient of each image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
FEW_TRIALS = 50
"""Numbers of trials from which Brown, Cai and DasGupta correct Wilson's interval for two or fewer, above it three or fewer."""

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Interval(NamedTuple):
    """A confidence interval, and how it was computed."""

    low: float
    high: float
    method: str
    """`wilson`, `t`, `newcombe`, `mover`, `bonett-price` or `bootstrap`."""


def proportion_interval(part: Flags, whole: Flags, groups: Indices) -> Interval | None:
    """Compute the interval of the fraction of the images in `whole` that are in `part`.

    Where no patient has several images in `whole`, this is Wilson's interval as Brown, Cai and DasGupta correct it (see
    `wilson_interval`). Otherwise the number of images is divided by the design effect: the variance of the fraction
    when patients are resampled, divided by that of independent images, and at least 1 (Korn and Graubard 1998); and
    the quantile is that of Student's t with one degree of freedom for each patient but one. A fraction of 0 or 1 says
    nothing about the design effect; each patient then counts once.

    Args:
        part: bool [N], which images have the property.
        whole: bool [N], which images the fraction is of.
        groups: int64 [N], number of the patient of each image.

    Returns:
        The interval, in [0, 1]; None if no image is in `whole`.
    """
    count = int(whole.sum())
    if not count:
        return None
    share = float((part & whole).sum() / count)
    trials, quantile = effective_trials(part[whole].astype(np.float64), groups[whole])
    return Interval(*wilson_interval(share, trials, quantile), "wilson")


def effective_trials(values: Floats, groups: Indices) -> tuple[float, float]:
    """Find how many independent images carry as much evidence about the mean of values.

    Args:
        values: float64 [N], N >= 1: 0 or 1 for each image, or the difference of two such values.
        groups: int64 [N], number of the patient of each image.

    Returns:
        The number of images, at least 1 and at most N, and the two-sided 95 % quantile that goes with it.
    """
    from scipy.stats import norm, t

    patients = len(np.unique(groups))
    if patients == len(values):
        return float(len(values)), float(norm.ppf((1 + LEVEL) / 2))
    quantile = float(t.ppf((1 + LEVEL) / 2, max(patients - 1, 1)))
    of_patients, of_images = variance_of_mean(values, groups), float(values.var()) / len(values)
    if patients == 1 or of_images == 0 or of_patients == 0:
        return float(patients), quantile
    return float(np.clip(len(values) / max(of_patients / of_images, 1.0), 1, len(values))), quantile


def variance_of_mean(values: Floats, groups: Indices) -> float:
    """Compute the variance of the mean of `values` when patients are drawn with replacement, to first order.

    With m patients it is m / (m - 1) times the sum over patients of the squared sum of deviations, divided by N².

    Args:
        values: float64 [N] of at least two patients.
        groups: int64 [N], number of the patient of each image.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.bincount(numbers, weights=values - values.mean())
    return float(len(sums) / max(len(sums) - 1, 1) * (sums**2).sum() / len(values) ** 2)


def wilson_interval(share: float, trials: float, quantile: float) -> tuple[float, float]:
    """Compute Wilson's score interval of a proportion, corrected near 0 and 1.

    At most two successes or two failures (three of more than 50 trials) have a bound of the Poisson distribution, as in
    Brown, Cai and DasGupta 2001, "Interval Estimation for a Binomial Proportion", section 4.1.1. Without it, accuracies
    of 0.99 would be covered in 85 % of samples of 16.

    Args:
        share: the proportion, in [0, 1].
        trials: number of trials, > 0; it need not be whole.
        quantile: two-sided quantile of the normal distribution, or of Student's t.
    """
    from scipy.stats import gamma

    scale = 1 + quantile**2 / trials
    centre = (share + quantile**2 / (2 * trials)) / scale
    half = quantile / scale * np.sqrt(share * (1 - share) / trials + quantile**2 / (4 * trials**2))
    low, high = centre - half, centre + half
    few = 2 if trials <= FEW_TRIALS else 3
    successes, failures = share * trials, (1 - share) * trials
    if successes < few + 0.5:
        low = min(low, gamma.ppf(1 - LEVEL, successes) / trials if successes > 0 else 0.0)
    if failures < few + 0.5:
        high = max(high, 1 - (gamma.ppf(1 - LEVEL, failures) / trials if failures > 0 else 0.0))
    return float(np.clip(low, 0, share)), float(np.clip(high, share, 1))


def mean_interval(values: Floats, groups: Indices) -> Interval | None:
    """Compute Student's t interval of the mean of values >= 0, with patients as the independent units.

    Args:
        values: float64 [N], all >= 0.
        groups: int64 [N], number of the patient of each image.

    Returns:
        The interval; None if there are fewer than two patients, or if all values are equal and so show no variance.
    """
    found = t_interval(values, groups)
    return None if found is None else found._replace(low=max(found.low, 0.0))


def t_interval(values: Floats, groups: Indices) -> Interval | None:
    """Compute Student's t interval of the mean of any values, such as differences, with patients as the independent units.

    Its variance is `variance_of_mean`, and its degrees of freedom are the number of patients but one. Where every image is
    of a patient of its own, it is the mean -/+ t s / sqrt(N).

    Args:
        values: float64 [N].
        groups: int64 [N], number of the patient of each image.

    Returns:
        The interval; None if there are fewer than two patients, or if all values are equal and so show no variance.
    """
    from scipy.stats import t

    patients = len(np.unique(groups))
    if patients < 2 or np.ptp(values) == 0:
        return None
    mean = float(values.mean())
    half = float(t.ppf((1 + LEVEL) / 2, patients - 1) * np.sqrt(variance_of_mean(values, groups)))
    return Interval(mean - half, mean + half, "t")


def bounded_mean_interval(mean: float, patients: int, highest: float) -> Interval:
    """Compute an interval of the mean of values in [0, `highest`] that is wide enough whatever their distribution.

    It is Wilson's interval of the mean divided by `highest`, with one trial for each patient: no values in this range with
    this mean vary more than those that are either 0 or `highest`.
    """
    from scipy.stats import norm

    low, high = wilson_interval(mean / highest, patients, float(norm.ppf((1 + LEVEL) / 2)))
    return Interval(low * highest, high * highest, "wilson")


def auroc_interval(area: float, positives: int, negatives: int) -> Interval:
    """Compute the interval of an AUROC of few images, or one that is 0 or 1.

    It holds the areas from which the observed one is at most 1.96 standard errors away, as Wilson's interval does for
    proportions, with the variance of Hanley and McNeil for both classes of their mean size (Newcombe 2006,
    "Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2", method 5).

    Args:
        area: the observed area, in [0, 1].
        positives: number of patients with an image of the class, >= 1.
        negatives: number of patients with an image of another class, >= 1.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    quantile, size = norm.ppf((1 + LEVEL) / 2), (positives + negatives) / 2
    pairs = positives * negatives

    def squares(true: float) -> float:
        """Divide the squared critical distance from `true` by true (1 - true)."""
        return float(quantile**2 * (1 + (size - 1) * ((1 - true) / (2 - true) + true / (1 + true))) / pairs)

    def excess(true: float) -> float:
        return (true - area) ** 2 - true * (1 - true) * squares(true)

    if area in (0, 1):  # both sides are divided by the distance, which is a root of its own
        bound = brentq(lambda distance: distance - (1 - distance) * squares(1 - distance), 0.0, 1.0)
        low, high = (0.0, bound) if area == 0 else (1 - bound, 1.0)
    else:
        low, high = brentq(excess, 0.0, area), brentq(excess, area, 1.0)
    return Interval(float(low), float(high), "newcombe")


def mean_of_intervals(values: Sequence[float], intervals: Sequence[Interval], *, independent: bool) -> Interval:
    """Compute the interval of the mean of figures of different classes from the interval of each.

    The distances of the bounds from independent figures add up as standard errors do (method of variance estimates
    recovery, Zou and Donner 2008). Those of dependent ones add up as they are, which is enough for any dependence.

    Args:
        values: the figures, at least one.
        intervals: the interval of each.
        independent: whether the figures are of different images, as recalls are.
    """
    figures = np.asarray(values)
    low, high = np.array([[one.low, one.high] for one in intervals]).T
    add = np.linalg.norm if independent else np.sum
    mean, below, above = figures.mean(), add(figures - low) / len(figures), add(high - figures) / len(figures)
    return Interval(float(mean - below), float(mean + above), "mover")


def difference_interval(first: float, of_first: Interval, second: float, of_second: Interval) -> Interval:
    """Compute the interval of `second` minus `first`, two figures of different patients, from the interval of each.

    This is method 10 of Newcombe 1998, "Interval estimation for the difference between independent proportions", for any
    two figures that have intervals.
    """
    apart = second - first
    below = np.hypot(second - of_second.low, of_first.high - first)
    above = np.hypot(of_second.high - second, first - of_first.low)
    return Interval(float(apart - below), float(apart + above), "mover")


def paired_difference_interval(first: Flags, second: Flags, groups: Indices) -> Interval:
    """Compute the interval of the fraction in `second` minus that in `first`, two properties of the same images.

    It is the adjusted Wald interval of Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", at the number of independent images (`effective_trials`). A bootstrap of 16 images,
    2 % of which have one property alone and 6 % the other, would hold the truth in 61 % of samples.

    Args:
        first: bool [N], which images have the first property, N >= 1.
        second: bool [N], which have the second one.
        groups: int64 [N], number of the patient of each image.

    Returns:
        The interval, in [-1, 1].
    """
    apart = second.astype(np.float64) - first
    trials, quantile = effective_trials(apart, groups)
    lost, won = ((np.mean(apart == sign) * trials + 1) / (trials + 2) for sign in (-1, 1))
    half = quantile * np.sqrt((lost + won - (won - lost) ** 2) / (trials + 2))
    low, high = won - lost - half, won - lost + half
    return Interval(float(np.clip(low, -1, apart.mean())), float(np.clip(high, apart.mean(), 1)), "bonett-price")
