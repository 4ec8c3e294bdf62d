import numpy as np
import pytest

from cxr_ray.metrics.risk_coverage import running_risk, uncertainty_line, uncertainty_metrics

ERROR = np.array([0.1, 0.4, 0.0, 0.2, 0.3])


def test_a_segmenter_that_knows_is_ideal_and_one_that_errs_is_worse_than_chance():
    knowing, wrong = uncertainty_metrics(ERROR**2, ERROR), uncertainty_metrics(-ERROR, ERROR)
    assert (knowing["spearman"], wrong["spearman"]) == (pytest.approx(1), pytest.approx(-1))
    assert knowing["aurc"] == knowing["aurc_ideal"] == pytest.approx(np.mean([0, 0.05, 0.1, 0.15, 0.2]))
    assert knowing["aurc_random"] == pytest.approx(0.2)
    assert wrong["aurc"] > wrong["aurc_random"]
    assert knowing["risk_at_coverage"][0] == [pytest.approx(0.2), 0.0]
    assert knowing["risk_at_coverage"][-1] == [1.0, pytest.approx(0.2)]


def test_the_order_of_images_of_equal_uncertainty_does_not_matter():
    uncertainty, error = np.array([0, 0, 0, 1.0]), np.array([0.1, 0.2, 0.3, 0.4])
    found = uncertainty_metrics(uncertainty, error)
    assert found["aurc"] == pytest.approx(np.mean([0.2, 0.2, 0.2, 0.25]))
    assert uncertainty_metrics(uncertainty, error[[2, 1, 0, 3]])["aurc"] == pytest.approx(found["aurc"])


def test_images_without_either_figure_do_not_count():
    uncertainty = np.array([1, 2, np.nan, 4, 5, 6.0])
    error = np.array([0.1, 0.2, 0.9, np.nan, 0.3, 0.4])
    assert uncertainty_metrics(uncertainty, error)["n"] == 4
    assert uncertainty_metrics(np.full(5, np.nan), ERROR) is None
    assert uncertainty_metrics(np.ones(5), ERROR)["spearman"] is None


def test_three_images_are_enough_and_two_values_have_a_rank():
    two_values = uncertainty_metrics(np.array([0.0, 0.0, 1.0]), np.array([0.1, 0.1, 0.5]))
    assert (two_values["n"], two_values["spearman"]) == (3, pytest.approx(1))
    assert uncertainty_metrics(np.array([0.0, 1.0]), np.array([0.1, 0.5])) is None
    assert uncertainty_metrics(ERROR, np.full(5, 0.3))["spearman"] is None


def test_the_curve_of_many_images_is_thinned_but_ends_with_all():
    rng = np.random.default_rng(0)
    curve = uncertainty_metrics(rng.random(1000), rng.random(1000))["risk_at_coverage"]
    assert [coverage for coverage, _ in curve] == pytest.approx(np.arange(1, 21) / 20)


def test_the_line_names_the_figures():
    assert (
        "Spearman correlation 1.000; mean error 0.2000, of the 80% least uncertain images 0.1500"
        in uncertainty_line(uncertainty_metrics(ERROR, ERROR))
    )


def test_the_line_has_a_dash_where_no_correlation_is_known():
    assert "Spearman correlation -; " in uncertainty_line(uncertainty_metrics(np.zeros(5), ERROR))


def test_running_risk():
    assert running_risk(np.array([0.0, 1.0, 0.5])).tolist() == [0.0, 0.5, 0.5]
