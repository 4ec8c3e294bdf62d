"""Check a: how well classes are told apart from the lungs alone, from all but the lungs, and from the border alone.

Each view is answered twice. The classifier answers as it is, which says what it uses, though hidden parts are strange to it.
A linear probe is retrained on the features that the frozen network gives of the same view, and predicts patients that it
has not seen; that says what the network can see there. Both are compared with the most frequent class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_ray.auditing.audit_images import AuditImages, Selection
from cxr_ray.auditing.finding import Finding, Question, finding_of_excess, gain_over, not_measured
from cxr_ray.auditing.grouped_probe import cross_validated, probeable
from cxr_ray.auditing.network import AuditedNetwork
from cxr_ray.auditing.regions import border_alone, lungs_alone, outline, without_lungs
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.metrics.intervals import paired_difference_interval, proportion_interval

CHECK = "a"
WHOLE, LUNGS, OUTSIDE, BORDER, OUTLINE = (
    "whole image",
    "lungs alone",
    "without lungs",
    "border alone",
    "outline of lungs",
)
AS_IS, RETRAINED = "as it is", "retrained"
NO_LUNGS = "no image has a lung mask; name a segmenter with --segmenter-uri"
NO_PROBE = "fewer than two classes have images of as many patients as there are folds; add --retrain-splits"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Which images of a set are answered rightly.

    Attributes:
        right: bool [N].
        majority: bool [N], those of the most frequent class.
        groups: int64 [N], number of the patient of each image.
    """

    right: np.ndarray
    majority: np.ndarray
    groups: np.ndarray

    def as_json(self) -> dict[str, Any]:
        """Accuracy with its interval, and that of the most frequent class, ready for strict JSON."""
        interval = proportion_interval(self.right, np.ones(len(self.right), bool), self.groups)
        return {
            "n_images": len(self.right),
            "n_patients": len(np.unique(self.groups)),
            "accuracy": float(self.right.mean()),
            "accuracy_interval": interval and [interval.low, interval.high],
            "majority": float(self.majority.mean()),
        }


@dataclass(frozen=True, kw_only=True)
class View:
    """A view of the images and how well it is answered; None where it cannot be.

    Attributes:
        name: name of the view.
        as_is: answers of the classifier for the audited split.
        retrained: answers of probes.
    """

    name: str
    as_is: Answers | None
    retrained: Answers | None

    def as_json(self) -> dict[str, Any]:
        """Both accuracies, ready for strict JSON."""
        return {
            "as_is": self.as_is and self.as_is.as_json(),
            "retrained": self.retrained and self.retrained.as_json(),
        }


def check_regions(network: AuditedNetwork, images: Selection, config: AuditConfig) -> tuple[list[Finding], list[View]]:
    """Answer every view, and judge what is left without lungs and in the border, and what is lost outside the lungs."""
    views = [_answered(name, show, network, images, config) for name, show in views_of(config).items()]
    by_name = {view.name: view for view in views}
    findings = [
        _gain(view.name, how, answers, config)
        for view in (by_name[OUTSIDE], by_name[BORDER])
        for how, answers in ((AS_IS, view.as_is), (RETRAINED, view.retrained))
    ]
    return [*findings, _loss(by_name[WHOLE].retrained, by_name[LUNGS].retrained, images, config)], views


def views_of(config: AuditConfig) -> dict[str, Callable[[AuditImages], np.ndarray | None]]:
    """Functions that show images, uint8 [N, S, S], by the name of the view; None is returned if lungs are needed."""

    def with_lungs(show: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[AuditImages], np.ndarray | None]:
        return lambda images: None if images.lungs is None else show(images.pixels, images.lungs)

    return {
        WHOLE: lambda images: images.pixels,
        LUNGS: with_lungs(lungs_alone),
        OUTSIDE: with_lungs(without_lungs),
        BORDER: lambda images: border_alone(images.pixels, images.lungs, config.border),
        OUTLINE: with_lungs(lambda _, lungs: outline(lungs)),
    }


def _answered(
    name: str,
    show: Callable[[AuditImages], np.ndarray | None],
    network: AuditedNetwork,
    images: Selection,
    config: AuditConfig,
) -> View:
    """Answer one view of the images whose lungs are known, or of all if none are."""
    answered, learned = (one if one.lungs is None else one.with_lungs() for one in (images.answered, images.learned))
    seen, taught = (show(one) if len(one) else None for one in (answered, learned))
    as_is = None if seen is None or name == OUTLINE else _as_is(seen, answered, network)
    return View(
        name=name, as_is=as_is, retrained=None if taught is None else _retrained(taught, learned, network, config)
    )


def _as_is(pixels: np.ndarray, images: AuditImages, network: AuditedNetwork) -> Answers:
    predicted = network.probabilities(pixels).argmax(1)
    return _answers(predicted, images.truth, images.groups)


def _retrained(pixels: np.ndarray, images: AuditImages, network: AuditedNetwork, config: AuditConfig) -> Answers | None:
    classes = probeable(images.truth, images.groups, config.folds)
    kept = np.isin(images.truth, classes)
    if len(classes) < 2:
        return None
    truth, groups = images.truth[kept], images.groups[kept]
    features = network.features(pixels[kept])
    predicted = cross_validated(features, truth, groups, folds=config.folds, balanced=False, seed=config.seed)
    return _answers(predicted, truth, groups)


def _answers(predicted: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> Answers:
    return Answers(right=predicted == truth, majority=truth == np.bincount(truth).argmax(), groups=groups)


def _gain(name: str, how: str, answers: Answers | None, config: AuditConfig) -> Finding:
    """Judge how much better than the most frequent class a view is answered that should tell nothing."""
    question = Question(
        check=CHECK, asked=f"{name}, {how}", measure="accuracy above majority", limits=config.outside_gain
    )
    if answers is None:
        return not_measured(question, NO_LUNGS if how == AS_IS or name == OUTSIDE else NO_PROBE)
    value, interval = gain_over(float(answers.majority.mean()), answers.right, answers.groups)
    detail = f"accuracy {answers.right.mean():.3f}, majority {answers.majority.mean():.3f}, {len(answers.right)} images"
    return finding_of_excess(question, value, interval, detail)


def _loss(whole: Answers | None, lungs: Answers | None, images: Selection, config: AuditConfig) -> Finding:
    """Judge how much of what probes know of whole images is lost with the lungs alone."""
    question = Question(check=CHECK, asked=f"{LUNGS}, {RETRAINED}", measure="accuracy lost", limits=config.lungs_loss)
    if whole is None or lungs is None:
        return not_measured(question, NO_LUNGS if images.learned.lungs is None else NO_PROBE)
    interval = paired_difference_interval(lungs.right, whole.right, lungs.groups)
    detail = f"accuracy {lungs.right.mean():.3f}, of whole images {whole.right.mean():.3f}"
    return finding_of_excess(question, float(whole.right.mean() - lungs.right.mean()), interval, detail)
