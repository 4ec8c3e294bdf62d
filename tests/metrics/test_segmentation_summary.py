import json

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp, ttest_rel

from cxr_ray.metrics.segmentation_summary import summarise, summarise_differences


def alone(count):
    """Every image is of a patient of its own."""
    return np.arange(count)


def test_summary_leaves_out_what_has_no_value():
    values = {"dsc": np.array([0.2, 0.4, 0.9]), "hd95_mm": np.array([3.0, np.nan, 5.0])}

    summary = summarise(values, alone(3))

    assert summary["dsc"]["mean"] == pytest.approx(0.5)
    assert summary["dsc"]["sd"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    assert summary["dsc"]["median"] == 0.4
    assert (summary["hd95_mm"]["n"], summary["hd95_mm"]["mean"]) == (2, 4)


def test_the_interval_is_students_t_of_independent_images():
    values = np.random.default_rng(7).normal(0.8, 0.05, size=16)

    interval = summarise({"dsc": values}, alone(16))["dsc"]["interval"]

    assert interval == pytest.approx(list(ttest_1samp(values, 0).confidence_interval(0.95)))


def test_the_interval_takes_patients_as_units():
    """With equally many images of each patient it is the t interval of the means of the patients."""
    of_patients = np.random.default_rng(3).normal(10, 2, size=8)
    values, groups = np.repeat(of_patients, 3), np.repeat(np.arange(8), 3)

    found = summarise({"hd95": values}, groups)["hd95"]

    assert found["n"] == 24
    assert found["interval"] == pytest.approx(list(ttest_1samp(of_patients, 0).confidence_interval(0.95)))


def test_unequal_patients_have_the_interval_of_a_ratio():
    """Computed directly: each patient's sum of deviations from the mean of all images."""
    values = np.array([0.9, 0.8, 0.7, 0.95, 0.5])
    groups = np.array([4, 4, 9, 2, 9])
    sums = [sum(values[groups == patient] - values.mean()) for patient in (2, 4, 9)]
    half = t.ppf(0.975, 2) * np.sqrt(3 / 2 * sum(one**2 for one in sums)) / 5

    found = summarise({"nsd": values}, groups)["nsd"]["interval"]

    assert found == pytest.approx([max(values.mean() - half, 0), min(values.mean() + half, 1)])


@pytest.mark.parametrize(("metric", "high"), [("dsc", 1), ("right_nsd_mm", 1), ("hd95", None)])
def test_a_fraction_ends_at_1_and_a_distance_does_not(metric, high):
    low, top = summarise({metric: np.array([0.2, 1.0, 0.9])}, alone(3))[metric]["interval"]
    assert low == 0
    assert top == high or (high is None and top > 1)


def test_what_cannot_be_computed_is_null_in_strict_json():
    values = {"dsc": np.array([0.5]), "hd95": np.array([np.nan]), "nsd": np.array([np.nan])}
    summary = summarise(values, alone(1))

    assert summary["dsc"] == {"n": 1, "mean": 0.5, "sd": None, "median": 0.5, "interval": None}
    assert summary["hd95"] == {"n": 0, "mean": None, "sd": None, "median": None, "interval": None}
    json.dumps(summary, allow_nan=False)
    assert summarise({"dsc": np.ones(9)}, alone(9))["dsc"]["interval"] is None, "equal values show no variance"


def test_a_difference_is_paired_and_may_be_below_0():
    generator = np.random.default_rng(5)
    first = generator.normal(0.8, 0.1, size=12)
    second = first + generator.normal(0.02, 0.01, size=12)

    found = summarise_differences({"dsc": first}, {"dsc": second}, alone(12))["dsc"]

    assert found["mean"] == pytest.approx((first - second).mean())
    assert found["interval"] == pytest.approx(list(ttest_rel(first, second).confidence_interval(0.95)))
    assert found["interval"][1] < 0


def test_an_image_without_one_of_two_values_has_no_difference():
    found = summarise_differences({"hd95_mm": np.array([1, np.nan, 3])}, {"hd95_mm": np.array([0, 1, 1.0])}, alone(3))
    assert (found["hd95_mm"]["n"], found["hd95_mm"]["mean"]) == (2, 1.5)
