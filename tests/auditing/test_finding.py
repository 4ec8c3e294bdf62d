import json

import numpy as np
import pytest

from cxr_ray.auditing.finding import (
    Question,
    finding_of_excess,
    finding_of_lack,
    gain_over,
    not_measured,
    worst_verdict,
)
from cxr_ray.metrics.intervals import Interval, proportion_interval

EXCESS = Question(check="a", asked="border", measure="gain", limits=(0.05, 0.15))
LACK = Question(check="b", asked="heat", measure="lift", limits=(1.1, 1.0))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.05, 0.1, "pass"),
        (0.04, 0.15, "pass"),
        (0.06, 0.14, "warn"),
        (0.1, 0.3, "warn"),
        (0.16, 0.3, "fail"),
        (-0.2, 0.2, "warn"),
    ],
)
def test_an_excess_is_judged_by_its_interval(low, high, verdict):
    found = finding_of_excess(EXCESS, (low + high) / 2, Interval(low, high, "wilson"), "figures")
    assert found.verdict == verdict
    assert ("too few images" in found.detail) == (low <= 0.05 and high > 0.15)


def test_an_exact_value_is_its_own_interval():
    leaked = Question(check="e", asked="copies", measure="fraction", limits=(0.0, 0.01))
    verdicts = [finding_of_excess(leaked, value, None, "").verdict for value in (0.0, 0.005, 0.01, 0.02)]
    assert verdicts == ["pass", "warn", "warn", "fail"]


@pytest.mark.parametrize(("low", "high", "verdict"), [(1.2, 1.4, "pass"), (1.05, 1.4, "warn"), (0.8, 0.99, "fail")])
def test_a_lack_is_judged_by_its_interval(low, high, verdict):
    assert finding_of_lack(LACK, 1.0, Interval(low, high, "t"), "").verdict == verdict


def test_what_was_not_measured_neither_passes_nor_fails():
    nothing, good = not_measured(EXCESS, "no masks"), finding_of_lack(LACK, 2.0, Interval(1.9, 2.1, "t"), "")
    assert worst_verdict([nothing, good]) == "pass"
    assert worst_verdict([nothing]) == "not measured"
    assert worst_verdict([good, finding_of_excess(EXCESS, 0.5, None, "")]) == "fail"


def test_a_finding_is_strict_json():
    found = finding_of_excess(EXCESS, 0.2, Interval(0.16, 0.24, "wilson"), "figures").as_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["interval"] == [0.16, 0.24]
    assert not_measured(EXCESS, "no masks").as_json()["value"] is None


def test_a_gain_has_the_interval_of_the_accuracy():
    right, groups = np.arange(40) < 30, np.arange(40)
    value, interval = gain_over(0.5, right, groups)
    whole = proportion_interval(right, np.ones(40, bool), groups)
    assert value == pytest.approx(0.25)
    assert (interval.low + 0.5, interval.high + 0.5) == pytest.approx((whole.low, whole.high))
