import numpy as np
import pytest
from scipy.special import softmax

from cxr_ray.metrics.calibration import expected_calibration_error
from cxr_ray.metrics.calibration_interval import ece_evidence
from tests.metrics.comparison_coverage import drawn_images, ece_coverage


def test_an_error_that_chance_explains_may_be_0():
    truth, probabilities = drawn_images(np.random.default_rng(0), 200, 1.0, 2.0)
    found = ece_evidence(truth, probabilities, np.arange(200), resamples=400)

    value = expected_calibration_error(truth, probabilities)
    assert found["ece_interval"][0] == 0 < value < found["ece_interval"][1] < 0.15
    right = np.random.default_rng(1).random((400, 200)) < probabilities.max(1)
    errors = [expected_calibration_error(np.where(row, probabilities.argmax(1), 9), probabilities) for row in right]
    assert found["ece_by_chance"] == pytest.approx(np.mean(errors), rel=0.05)
    assert 0.05 < found["ece_by_chance"] < 0.075


def test_an_error_beyond_chance_is_not_0():
    truth, probabilities = drawn_images(np.random.default_rng(0), 400, 3.0, 1.0)
    low, high = ece_evidence(truth, probabilities, np.arange(400), resamples=400)["ece_interval"]

    assert 0.1 < low < expected_calibration_error(truth, probabilities) < high < 0.4


def test_a_perfect_classifier_of_16_images_may_err():
    sure = softmax(8 * np.eye(2)[np.arange(16) % 2], axis=1)
    low, high = ece_evidence(np.arange(16) % 2, sure, np.arange(16), resamples=2000)["ece_interval"]

    assert low < 0.001
    assert 1 - high == pytest.approx(0.025 ** (1 / 16), abs=0.02), (
        "the accuracy of which 2.5 % of samples have no mistake"
    )


def test_copies_of_images_add_no_evidence():
    truth, probabilities = drawn_images(np.random.default_rng(0), 100, 2.0, 2.0)
    once = ece_evidence(truth, probabilities, np.arange(100), resamples=400)
    copies = [array.repeat(9, axis=0) for array in (truth, probabilities, np.arange(100))]
    found = ece_evidence(*copies, resamples=400)

    assert found["ece_interval"] == pytest.approx(once["ece_interval"], abs=0.02)
    assert found["ece_by_chance"] == pytest.approx(once["ece_by_chance"], rel=0.1)
    naive = ece_evidence(*copies[:2], np.arange(900), resamples=400)
    assert naive["ece_by_chance"] < found["ece_by_chance"] / 2


def test_one_image_and_wrong_certainty_have_intervals():
    one = ece_evidence(np.array([0]), np.array([[0.9, 0.1]]), np.zeros(1, np.int64), resamples=200)
    assert one["ece_interval"][0] < 0.11
    assert one["ece_interval"][1] > 0.5
    wrong = ece_evidence(np.ones(50, np.int64), np.eye(2)[np.zeros(50, int)], np.arange(50), resamples=200)
    assert wrong["ece_interval"] == [pytest.approx(0.93, abs=0.03), 1.0]


@pytest.mark.parametrize(("size", "sharpness"), [(200, 1.0), (50, 2.0)])
def test_simulated_errors_are_covered(size, sharpness):
    true, covered, _ = ece_coverage(60, size, sharpness, 2.0, resamples=200)
    assert covered >= 0.9, true
