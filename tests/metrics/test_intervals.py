import numpy as np
import pytest
from scipy.stats import binomtest, t

from cxr_ray.metrics.class_intervals import NORMAL_QUANTILE
from cxr_ray.metrics.intervals import (
    Interval,
    auroc_interval,
    bounded_mean_interval,
    difference_interval,
    effective_trials,
    mean_interval,
    mean_of_intervals,
    paired_difference_interval,
    proportion_interval,
    variance_of_mean,
    wilson_interval,
)
from tests.metrics.comparison_coverage import difference_coverage
from tests.metrics.interval_coverage import (
    ACCURACIES,
    SIZES,
    WANTED,
    accuracy_coverage,
    closest_possible,
    exact_coverage,
    figure_coverages,
    main,
)

OUT_OF_REACH = {(16, 0.99): 0.989, (50, 0.99): 0.986}
"""Cells in which no interval of the number of correct images covers the truth in 93 to 97 %, and the nearest coverage above."""
CELLS = [(size, accuracy) for size in SIZES for accuracy in ACCURACIES]


@pytest.mark.parametrize(("size", "accuracy"), CELLS)
def test_accuracies_are_covered_at_95_percent_where_that_is_possible(size, accuracy):
    covered = exact_coverage(size, accuracy)
    if (size, accuracy) in OUT_OF_REACH:
        assert closest_possible(size, accuracy) == pytest.approx(OUT_OF_REACH[size, accuracy], abs=5e-4)
        assert covered == pytest.approx(closest_possible(size, accuracy)), "the nearest that is possible"
    else:
        assert WANTED[0] <= covered < WANTED[1] + 0.0005


def test_the_bootstrap_would_not_cover_accuracies_of_few_images():
    assert exact_coverage(16, 0.9, "bootstrap") < 0.8
    assert exact_coverage(200, 0.99, "bootstrap") < 0.9


@pytest.mark.parametrize(("per_patient", "correlation"), [(1, 0.0), (4, 0.3)])
def test_simulated_evaluations_are_covered(per_patient, correlation):
    assert 0.91 < accuracy_coverage(400, 200, 0.9, per_patient, correlation) < 0.985


def test_the_script_prints_every_cell(monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["interval_coverage", "--runs", "2", "--images-per-patient", "2", "--correlation", "0.5"]
    )
    main()

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(CELLS)
    assert lines[1].split()[:2] == ["16", "0.6"]


@pytest.mark.slow
def test_simulated_figures_of_all_kinds_are_covered():
    covered = figure_coverages(60, 200, 2.0)
    assert {figure: share for figure, share in covered.items() if share < 0.85} == {}


@pytest.mark.parametrize(("successes", "trials"), [(5, 16), (30, 50), (150, 200)])
def test_wilson_is_that_of_scipy_where_neither_outcome_is_rare(successes, trials):
    reference = binomtest(successes, trials).proportion_ci(method="wilson")

    assert wilson_interval(successes / trials, trials, NORMAL_QUANTILE) == pytest.approx(tuple(reference))


def test_rare_outcomes_are_bounded_as_by_brown_cai_and_dasgupta():
    low, _ = wilson_interval(1 / 16, 16, NORMAL_QUANTILE)
    _, high = wilson_interval(15 / 16, 16, NORMAL_QUANTILE)

    assert low == pytest.approx(-np.log(0.95) / 16)
    assert high == pytest.approx(1 + np.log(0.95) / 16)
    assert wilson_interval(1, 100, NORMAL_QUANTILE) == (pytest.approx(1 / (1 + NORMAL_QUANTILE**2 / 100)), 1.0)


def test_a_proportion_has_no_interval_without_images():
    nothing = np.zeros(3, bool)
    assert proportion_interval(nothing, nothing, np.arange(3)) is None


def test_copies_of_images_add_no_evidence():
    right = np.arange(40) % 4 > 0
    trials, quantile = effective_trials(np.repeat(right, 5).astype(float), np.arange(40).repeat(5))

    # of 40 patients, 40 is the number of images but for the variance's m / (m - 1)
    assert trials == pytest.approx(39)
    assert quantile == pytest.approx(t.ppf(0.975, 39))
    assert effective_trials(np.ones(200), np.arange(40).repeat(5))[0] == 40, "one trial for each patient"
    assert effective_trials(np.ones(7), np.zeros(7))[0] == 1
    assert effective_trials(right.astype(float), np.arange(40)) == (40, pytest.approx(NORMAL_QUANTILE))


def test_variance_of_a_mean_is_that_of_resampled_patients():
    generator = np.random.default_rng(0)
    groups = generator.integers(60, size=240)
    values = generator.random(60)[groups] + generator.random(240)
    sums, counts = np.bincount(groups, values, 60), np.bincount(groups, minlength=60)
    drawn = generator.multinomial(60, np.full(60, 1 / 60), size=4000)

    means = (drawn @ sums) / (drawn @ counts)
    assert variance_of_mean(values, groups) == pytest.approx(means.var(), rel=0.1)


def test_mean_of_independent_images_has_students_interval():
    values = np.random.default_rng(0).random(20)
    low, high, method = mean_interval(values, np.arange(20))

    half = t.ppf(0.975, 19) * values.std(ddof=1) / np.sqrt(20)
    assert (low, high, method) == (pytest.approx(values.mean() - half), pytest.approx(values.mean() + half), "t")
    assert mean_interval(values, np.zeros(20, np.int64)) is None


def test_a_mean_without_variance_is_not_certain():
    assert mean_interval(np.zeros(20), np.arange(20)) is None
    low, high, method = bounded_mean_interval(0.0, 20, 2.0)

    assert (low, method) == (0, "wilson")
    assert 0.2 < high < 0.4


@pytest.mark.parametrize("area", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_the_interval_of_an_area_is_symmetric_and_holds_it(area):
    low, high, _ = auroc_interval(area, 20, 30)
    mirrored = auroc_interval(1 - area, 30, 20)

    assert 0 <= low <= area <= high <= 1
    assert high - low > 0.05
    assert (1 - high, 1 - low) == pytest.approx(mirrored[:2])


def test_the_bounds_of_an_area_are_196_standard_errors_away():
    area, positives, negatives = 0.8, 25, 25
    low, high, _ = auroc_interval(area, positives, negatives)
    for true in (low, high):  # the variance of Hanley and McNeil 1982
        q1, q2 = true / (2 - true), 2 * true**2 / (1 + true)
        variance = (true * (1 - true) + 24 * (q1 - true**2) + 24 * (q2 - true**2)) / (positives * negatives)
        assert abs(area - true) / np.sqrt(variance) == pytest.approx(1.96, abs=1e-3)


def test_intervals_of_a_mean_and_of_a_difference_add_as_standard_errors_do():
    both = [Interval(0.7, 0.86, "wilson"), Interval(0.4, 0.64, "wilson")]

    low, high, _ = mean_of_intervals([0.8, 0.5], both, independent=True)
    assert (low, high) == (pytest.approx(0.65 - np.hypot(0.1, 0.1) / 2), pytest.approx(0.65 + np.hypot(0.06, 0.14) / 2))
    assert mean_of_intervals([0.8, 0.5], both, independent=False)[:2] == pytest.approx((0.55, 0.75))
    low, high, _ = difference_interval(0.8, both[0], 0.5, both[1])
    assert (low, high) == (pytest.approx(-0.3 - np.hypot(0.1, 0.06)), pytest.approx(-0.3 + np.hypot(0.14, 0.1)))


def test_difference_of_proportions_is_the_one_in_newcombes_paper():
    # 56 of 70 and 48 of 80, Newcombe 1998, table II, method 10: 0.0524 to 0.3339
    first, second = (
        proportion_interval(np.arange(n) < k, np.ones(n, bool), np.arange(n)) for k, n in ((48, 80), (56, 70))
    )
    low, high, _ = difference_interval(48 / 80, first, 56 / 70, second)
    assert (low, high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_two_models_that_never_differ_need_not_be_equal():
    same = np.arange(16) < 15
    low, high, method = paired_difference_interval(same, same, np.arange(16))

    assert (high, low, method) == (pytest.approx(0.154, abs=1e-3), pytest.approx(-high), "bonett-price")


def test_a_paired_difference_has_the_interval_of_its_paper():
    # 12 of 100 images only by the first, 4 only by the second: (13 and 5) / 102
    first, second = np.arange(100) < 60, (np.arange(100) >= 12) & (np.arange(100) < 64)
    low, high, _ = paired_difference_interval(first, second, np.arange(100))

    half = 1.96 * np.sqrt((18 / 102 - (8 / 102) ** 2) / 102)
    assert (low, high) == (pytest.approx(-8 / 102 - half, abs=1e-4), pytest.approx(-8 / 102 + half, abs=1e-4))
    copies = (array.repeat(5) for array in (first, second, np.arange(100)))
    assert paired_difference_interval(*copies)[:2] == pytest.approx((low, high), abs=0.003)


@pytest.mark.parametrize(("size", "per_patient"), [(16, 1), (200, 1), (200, 4)])
def test_simulated_differences_are_covered(size, per_patient):
    assert difference_coverage(400, size, 0.02, 0.06, per_patient) > 0.93
