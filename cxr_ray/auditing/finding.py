"""Findings of an audit: what was measured, between which bounds it lies, and the verdict on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cxr_ray.metrics.intervals import Interval, proportion_interval

Verdict = Literal["pass", "warn", "fail", "not measured"]
FROM_BEST: tuple[Verdict, ...] = ("not measured", "pass", "warn", "fail")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question of an audit.

    Attributes:
        check: letter of the check, `a` to `f`.
        asked: what is looked at, in a few words.
        measure: what the value of the answer is, in a few words.
        limits: value at which the verdict becomes `warn`, and the one at which it becomes `fail`.
    """

    check: str
    asked: str
    measure: str
    limits: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The answer to one question of an audit.

    Attributes:
        question: the question.
        value: the measured value; None if it was not measured.
        interval: bounds of its 95 % interval by patient; None if it is exact or was not measured.
        verdict: the verdict.
        detail: figures beside the value, or the reason why it was not measured.
    """

    question: Question
    value: float | None
    interval: tuple[float, float] | None
    verdict: Verdict
    detail: str

    def as_json(self) -> dict[str, Any]:
        """The finding as a dict that is ready for strict JSON."""
        return {
            "check": self.question.check,
            "question": self.question.asked,
            "measure": self.question.measure,
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "limits": list(self.question.limits),
            "verdict": self.verdict,
            "detail": self.detail,
        }


def finding_of_excess(question: Question, value: float, interval: Interval | None, detail: str) -> Finding:
    """Judge a value that should be small.

    It fails if its whole interval lies above the second limit, and passes if the interval reaches down to the first limit
    and ends below the second one. A wider interval is a warning: few images prove nothing.

    Args:
        question: the question, whose first limit is not above the second one.
        value: the value.
        interval: its interval; None if the value is exact.
        detail: figures beside the value.
    """
    low, high = (value, value) if interval is None else (interval.low, interval.high)
    warn, fail = question.limits
    too_few = low <= warn and high > fail
    return Finding(
        question=question,
        value=value,
        interval=None if interval is None else (low, high),
        verdict="fail" if low > fail else "warn" if low > warn or too_few else "pass",
        detail=f"{detail}; too few images to rule a failure out" if too_few else detail,
    )


def finding_of_lack(question: Question, value: float, interval: Interval, detail: str) -> Finding:
    """Judge a value that should be large: it fails if its whole interval lies below the second limit.

    It passes if its whole interval lies above the first limit, which is not below the second one.
    """
    warn, fail = question.limits
    return Finding(
        question=question,
        value=value,
        interval=(interval.low, interval.high),
        verdict="fail" if interval.high < fail else "warn" if interval.low < warn else "pass",
        detail=detail,
    )


def gain_over(share: float, right: np.ndarray, groups: np.ndarray) -> tuple[float, Interval]:
    """Compute how much larger the fraction of right answers is than `share`, with its interval by patient.

    The fraction of the most frequent class is taken as known, as a no-information rate is.

    Args:
        share: fraction of right answers without any information.
        right: bool [N], N >= 1.
        groups: int64 [N], number of the patient of each image.
    """
    found = proportion_interval(right, np.ones(len(right), bool), groups)
    if found is None:
        raise ValueError("right must be of at least one image")
    return float(right.mean()) - share, Interval(found.low - share, found.high - share, found.method)


def not_measured(question: Question, reason: str) -> Finding:
    """State that a question has no answer, and why."""
    return Finding(question=question, value=None, interval=None, verdict="not measured", detail=reason)


def worst_verdict(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict of findings; what was not measured does not count beside what was."""
    return max((finding.verdict for finding in findings), key=FROM_BEST.index, default="not measured")
