import numpy as np
import pytest
from scipy.stats import fisher_exact, ks_2samp
from scipy.stats.contingency import chi2_contingency

from cxr_ray.metrics.drift import compare_categories, compare_numbers


def test_numbers_are_compared_by_kolmogorov_and_smirnov():
    generator = np.random.default_rng(0)
    reference, current = generator.normal(size=80), generator.normal(0.8, size=60)
    found = compare_numbers(reference, current)

    expected = ks_2samp(reference, current)
    assert (found["effect"], found["p_value"]) == (expected.statistic, expected.pvalue)
    assert found["p_value"] < 0.01
    assert (found["reference"], found["n_current"]) == (np.median(reference), 60)


def test_too_few_numbers_are_not_tested():
    found = compare_numbers(np.array([1.0]), np.array([]))
    assert [found[name] for name in ("statistic", "effect", "p_value", "current")] == [None] * 4
    assert found["reference"] == 1


def test_categories_are_compared_by_chi_square():
    found = compare_categories(["a"] * 60 + ["b"] * 40, ["a"] * 30 + ["b"] * 70)

    expected = chi2_contingency([[60, 40], [30, 70]], correction=False)
    assert (found["test"], found["statistic"], found["p_value"]) == ("chi2", expected.statistic, expected.pvalue)
    assert found["effect"] == pytest.approx(0.3)
    assert found["reference"] == {"a": 0.6, "b": 0.4}


def test_rare_categories_have_a_resampled_p_value():
    # For two by two tables, the two-sided test of Fisher orders tables almost as chi-square does.
    found = compare_categories(["a"] * 8 + ["b"] * 2, ["a"] * 3 + ["b"] * 7)

    assert found["test"] == "chi2_resampled"
    assert found["p_value"] == pytest.approx(fisher_exact([[8, 2], [3, 7]]).pvalue, abs=0.01)
    assert compare_categories(["a"] * 8 + ["b"] * 2, ["a"] * 3 + ["b"] * 7) == found


def test_equal_and_disjoint_samples_are_the_ends_of_the_scale():
    assert compare_categories(["a"] * 5, ["a"] * 9)["p_value"] == 1
    assert compare_categories(["a"] * 50, ["b"] * 50)["effect"] == 1
    assert compare_numbers(np.zeros(50), np.ones(50))["effect"] == 1
    assert compare_categories([], ["a"])["p_value"] is None


def test_a_true_hypothesis_is_rejected_at_its_level():
    generator = np.random.default_rng(0)
    p_values = [
        compare_categories(*generator.choice(["a", "b", "c"], size=(2, 100)).tolist())["p_value"] for _ in range(200)
    ]
    assert 0.01 < np.mean(np.array(p_values) < 0.05) < 0.1
