import numpy as np
import pytest

from cxr_ray.metrics.abstention import choose_abstention, figures_of_abstention

CONFIDENCE = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.5])
RIGHT = np.array([1, 1, 0, 1, 1, 0], bool)


def test_the_lowest_threshold_is_chosen_that_reaches_the_accuracy():
    # kept from 0.9 down: 1 of 1, 2 of 3 (two images of 0.8), 3 of 4, 4 of 5, 4 of 6
    assert choose_abstention(CONFIDENCE, RIGHT, 0.8) == 0.6
    assert choose_abstention(CONFIDENCE, RIGHT, 0.9) == 0.9
    assert choose_abstention(CONFIDENCE, RIGHT, 0.5) == 0.5
    assert choose_abstention(CONFIDENCE[1:], RIGHT[1:], 0.9) is None


def test_kept_and_other_images_have_accuracies_of_their_own():
    figures = figures_of_abstention(0.7, CONFIDENCE, RIGHT, np.arange(6))

    assert figures["n_kept"] == 4
    assert figures["coverage"] == pytest.approx(4 / 6)
    assert figures["accuracy"] == pytest.approx(3 / 4)
    assert figures["accuracy_of_the_others"] == pytest.approx(1 / 2)
    assert all(low <= figures[name] <= high for name, (low, high) in figures["intervals"].items())


def test_a_threshold_that_no_image_reaches_keeps_none():
    figures = figures_of_abstention(0.95, CONFIDENCE, RIGHT, np.arange(6))

    assert (figures["n_kept"], figures["coverage"], figures["accuracy"]) == (0, 0, None)
    assert figures["intervals"]["accuracy"] is None
