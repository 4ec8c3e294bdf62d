"""Comparison of classifiers on the same images: McNemar's test, and paired differences with patients resampled."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.class_intervals import allows_bootstrap
from cxr_ray.metrics.classification import auroc
from cxr_ray.metrics.intervals import (
    Interval,
    auroc_interval,
    difference_interval,
    mean_of_intervals,
    paired_difference_interval,
    proportion_interval,
)
from cxr_ray.metrics.paired import paired_metrics
from cxr_ray.metrics.patient_bootstrap import mean_of_known_classes, percentile_interval, resampled_areas

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def mcnemar(first: Flags, second: Flags) -> dict[str, Any]:
    """Test whether two classifiers are right equally often, by McNemar's exact test.

    Under the null hypothesis, each of the images on which only one of them is right is as likely to be one of the first.
    The test takes images as independent; several images of a patient make its p-value too small.

    Args:
        first: bool [N], whether the first classifier is right.
        second: bool [N], whether the second one is.

    Returns:
        `only_first` and `only_second`, the numbers of images on which only this one is right, and the two-sided `p_value`.
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    differ = only_first + only_second
    p_value = float(binomtest(only_first, differ, 0.5).pvalue) if differ else 1.0
    return {"only_first": only_first, "only_second": only_second, "p_value": p_value}


def compare_pair(
    truth: Indices, pair: tuple[Floats, Floats], groups: Indices, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Compare a second classifier with a first one, ready for strict JSON.

    Args:
        truth: int64 [N], indices of the true classes.
        pair: the probabilities of both, each float64 [N, K], all finite.
        groups: int64 [N], number of the patient of each image.
        resamples: number of bootstrap resamples of patients.
        seed: seed of the bootstrap.

    Returns:
        `mcnemar`; `differences` of `accuracy`, `brier`, `ece` and `macro_auroc`, the second minus the first, with
        `difference_intervals`; and `agreement`, the fraction of images with equal labels, with `agreement_interval`. The
        intervals of accuracy and agreement have formulas (`intervals`), because few images on which the models differ are too
        few for a bootstrap; the others are bootstrapped, but see `macro_auroc_difference`.
    """
    drawing = {"resamples": resamples, "seed": seed}
    paired = paired_metrics(truth, {"first": pair[0], "second": pair[1]}, groups, **drawing)
    names = ("accuracy", "brier", "ece")
    differences: dict[str, float | None] = {name: paired[name]["difference"] for name in names}
    intervals: dict[str, list[float] | None] = {name: paired[name]["difference_interval"] for name in names}
    labels = [probabilities.argmax(axis=1) for probabilities in pair]
    first, second = (of_model == truth for of_model in labels)
    intervals["accuracy"] = list(paired_difference_interval(first, second, groups)[:2])
    differences["macro_auroc"], of_area = macro_auroc_difference(truth, pair, groups, **drawing)
    intervals["macro_auroc"] = of_area and list(of_area[:2])
    equal = labels[0] == labels[1]
    of_agreement = proportion_interval(equal, np.ones_like(equal), groups)
    return {
        "mcnemar": mcnemar(first, second),
        "differences": differences,
        "difference_intervals": intervals,
        "agreement": paired["agreement"],
        "agreement_interval": of_agreement and list(of_agreement[:2]),
    }


def macro_auroc_difference(
    truth: Indices, pair: tuple[Floats, Floats], groups: Indices, *, resamples: int, seed: int
) -> tuple[float | None, Interval | None]:
    """Compute the macro AUROC of the second classifier minus that of the first, with a 95 % interval.

    The interval is a bootstrap of patients, the same ones for both. Where a class has few patients, or an area is so near to 1 that
    a bootstrap would be too narrow, it takes both areas as those of different patients, which is enough for better pairs.

    Args:
        truth: int64 [N], indices of the true classes.
        pair: the probabilities of both, each float64 [N, K], all finite.
        groups: int64 [N], number of the patient of each image.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        The difference and its interval; None and None if no class has images both of it and of another class.
    """
    classes = [k for k in range(pair[0].shape[1]) if 0 < (truth == k).sum() < len(truth)]
    if not classes:
        return None, None
    areas = [[auroc(truth == k, probabilities[:, k]) or 0.0 for k in classes] for probabilities in pair]
    means = [float(np.mean(of_model)) for of_model in areas]
    patients = [[len(np.unique(groups[chosen])) for chosen in (truth == k, truth != k)] for k in classes]
    if all(allows_bootstrap(area, *of) for of_model in areas for area, of in zip(of_model, patients, strict=True)):
        drawing = {"resamples": resamples, "seed": seed}
        drawn = [mean_of_known_classes(resampled_areas(truth, p, classes, groups, **drawing)[0]) for p in pair]
        return means[1] - means[0], percentile_interval(drawn[1] - drawn[0])
    of_areas = [[auroc_interval(area, *of) for area, of in zip(of, patients, strict=True)] for of in areas]
    of_first, of_second = (mean_of_intervals(*both, independent=False) for both in zip(areas, of_areas, strict=True))
    return means[1] - means[0], difference_interval(means[0], of_first, means[1], of_second)


def compare_models(
    truth: Indices, models: Mapping[str, Floats], groups: Indices, *, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Compare every model with the first one, see `compare_pair`; `p_value_holm` corrects McNemar's p-values for their number.

    Args:
        truth: int64 [N], indices of the true classes.
        models: the probabilities of each model, float64 [N, K], all finite, by its name.
        groups: int64 [N], number of the patient of each image.
        resamples: number of bootstrap resamples of patients.
        seed: seed of the bootstrap.
    """
    (_, first), *others = models.items()
    found = {
        name: compare_pair(truth, (first, probabilities), groups, resamples=resamples, seed=seed)
        for name, probabilities in others
    }
    corrected = holm([one["mcnemar"]["p_value"] for one in found.values()])
    for one, p_value in zip(found.values(), corrected, strict=True):
        one["mcnemar"]["p_value_holm"] = p_value
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, so that all of them together reject a true hypothesis with at most their level.

    This is the step-down procedure of Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    scaled = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(scaled, 1)
    return [float(value) for value in corrected]
