import numpy as np
import pytest
from sklearn.metrics import precision_score

from cxr_ray.metrics.prevalence import predictive_values

# 40 of 50 sick images and 190 of 200 others are recognised.
TRUE = np.arange(250) < 50
POSITIVE = np.concatenate([np.arange(50) < 40, np.arange(200) < 10])
PATIENTS = np.arange(250)


def test_predictive_values_follow_from_bayes_rule():
    values = predictive_values(TRUE, POSITIVE, PATIENTS, 0.01)

    assert values["ppv"] == pytest.approx(0.8 * 0.01 / (0.8 * 0.01 + 0.05 * 0.99))
    assert values["npv"] == pytest.approx(0.95 * 0.99 / (0.95 * 0.99 + 0.2 * 0.01))
    low, high = values["intervals"]["ppv"]
    assert low < values["ppv"] < high
    # Mercaldo, Lau and Zhou 2007: the logit of PPV has this variance.
    deviation = np.sqrt(0.2 / 0.8 / 50 + 0.95 / 0.05 / 200)
    assert np.log(high / (1 - high)) - np.log(low / (1 - low)) == pytest.approx(2 * 1.96 * deviation, rel=0.05)


def test_at_their_own_prevalence_they_are_those_of_the_images():
    values = predictive_values(TRUE, POSITIVE, PATIENTS, TRUE.mean())

    assert values["ppv"] == pytest.approx(precision_score(TRUE, POSITIVE))
    assert values["npv"] == pytest.approx(precision_score(~TRUE, ~POSITIVE))


def test_a_perfect_test_is_not_certain_of_a_rare_disease():
    values = predictive_values(TRUE, TRUE, PATIENTS, 0.001)

    assert (values["ppv"], values["npv"]) == (1, 1)
    assert values["intervals"]["ppv"][0] < 0.5
    assert values["intervals"]["ppv"][1] == 1


def test_what_is_not_known_is_none():
    assert predictive_values(TRUE | True, POSITIVE, PATIENTS, 0.1)["ppv"] is None
    never = predictive_values(TRUE, TRUE & False, PATIENTS, 0.1)
    assert (never["ppv"], never["intervals"]["ppv"]) == (None, None)
    assert never["npv"] == pytest.approx(0.9)
