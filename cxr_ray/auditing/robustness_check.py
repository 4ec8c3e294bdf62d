"""Check d: how much accuracy rotation, noise, JPEG, brightness, resolution and inversion cost."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cxr_ray.auditing.audit_images import AuditImages
from cxr_ray.auditing.disturbances import brightened, coarsened, compressed, inverted, noisy, rotated
from cxr_ray.auditing.finding import Finding, Question, finding_of_excess
from cxr_ray.auditing.network import AuditedNetwork
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.metrics.intervals import paired_difference_interval, proportion_interval

CHECK, MEASURE = "d", "accuracy lost"
INVERSION = "inversion"


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """One kind of disturbance, with levels of which the first is the mild one that is judged.

    Attributes:
        name: name of the kind.
        unit: what a level is, in words.
        levels: the levels.
        change: function of images uint8 [N, S, S] and a level.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    change: Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Accuracy at each level of a disturbance.

    Attributes:
        disturbance: the disturbance.
        right: for each level, bool [N], which images are answered rightly.
        clean: bool [N], which images are answered rightly without a disturbance.
        groups: int64 [N], number of the patient of each image.
    """

    disturbance: Disturbance
    right: list[np.ndarray]
    clean: np.ndarray
    groups: np.ndarray

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield level, accuracy and interval, ready for strict JSON, in the order of the levels."""
        for level, right in zip(self.disturbance.levels, self.right, strict=True):
            interval = proportion_interval(right, np.ones(len(right), bool), self.groups)
            bounds = interval and [interval.low, interval.high]
            yield {"level": level, "accuracy": float(right.mean()), "accuracy_interval": bounds}


def disturbances(config: AuditConfig) -> list[Disturbance]:
    """List the disturbances with the levels of `config`."""
    return [
        Disturbance(name="rotation", unit="degrees", levels=config.rotation, change=rotated),
        Disturbance(
            name="noise",
            unit="grey levels",
            levels=config.noise,
            change=lambda pixels, level: noisy(pixels, level, seed=config.seed),
        ),
        Disturbance(name="JPEG", unit="quality", levels=config.jpeg, change=compressed),
        Disturbance(name="brightness", unit="grey levels", levels=config.brightness, change=brightened),
        Disturbance(name="resolution", unit="of the size", levels=config.resolution, change=coarsened),
        Disturbance(name=INVERSION, unit="on", levels=(1.0,), change=lambda pixels, _: inverted(pixels)),
    ]


def check_robustness(
    network: AuditedNetwork, images: AuditImages, config: AuditConfig
) -> tuple[list[Finding], list[Curve]]:
    """Judge the first level of each disturbance, and answer all of them.

    Inversion warns at most, because jobs of this project invert MONOCHROME1 images of DICOM files before a model sees them.
    """
    clean = network.probabilities(images.pixels).argmax(1) == images.truth
    curves = []
    for one in disturbances(config):
        answers = [network.probabilities(one.change(images.pixels, level)).argmax(1) for level in one.levels]
        right = [predicted == images.truth for predicted in answers]
        curves.append(Curve(disturbance=one, right=right, clean=clean, groups=images.groups))
    return [_judged(curve, config) for curve in curves], curves


def _judged(curve: Curve, config: AuditConfig) -> Finding:
    one, right = curve.disturbance, curve.right[0]
    asked = one.name if one.name == INVERSION else f"{one.name}, {one.levels[0]:g} {one.unit}"
    question = Question(check=CHECK, asked=asked, measure=MEASURE, limits=config.disturbed_loss)
    interval = paired_difference_interval(right, curve.clean, curve.groups)
    detail = f"accuracy {right.mean():.3f}, undisturbed {curve.clean.mean():.3f}"
    found = finding_of_excess(question, float(curve.clean.mean() - right.mean()), interval, detail)
    return replace(found, verdict="warn") if one.name == INVERSION and found.verdict == "fail" else found
