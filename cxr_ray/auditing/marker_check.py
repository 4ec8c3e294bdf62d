"""Check f: do the answers change as corners, or letters and text outside the lungs, are covered."""

import numpy as np

from cxr_ray.auditing.audit_images import AuditImages
from cxr_ray.auditing.covering import corners_covered, sides_covered, text_covered
from cxr_ray.auditing.finding import Finding, Question, finding_of_excess, not_measured
from cxr_ray.auditing.network import AuditedNetwork
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.metrics.intervals import paired_difference_interval, proportion_interval

CHECK = "f"
CORNERS, TEXT = "answers changed beyond a control", "answers changed"


def check_markers(network: AuditedNetwork, images: AuditImages, config: AuditConfig) -> list[Finding]:
    """Judge covered corners, beyond equal squares in the middle of the sides, and covered writing."""
    before = network.probabilities(images.pixels).argmax(1)
    return [_corners(network, images, before, config), _text(network, images, before, config)]


def _corners(network: AuditedNetwork, images: AuditImages, before: np.ndarray, config: AuditConfig) -> Finding:
    after = network.probabilities(corners_covered(images.pixels, images.lungs, config.corner)).argmax(1)
    control = network.probabilities(sides_covered(images.pixels, images.lungs, config.corner)).argmax(1)
    changed, by_chance = after != before, control != before
    interval = paired_difference_interval(by_chance, changed, images.groups)
    detail = (
        f"{changed.mean():.3f} changed by corners, {by_chance.mean():.3f} by the middles of the sides;"
        f" {_accuracies(before, after, images.truth)}"
    )
    question = Question(check=CHECK, asked="corners covered", measure=CORNERS, limits=config.changed_answers)
    return finding_of_excess(question, float(changed.mean() - by_chance.mean()), interval, detail)


def _text(network: AuditedNetwork, images: AuditImages, before: np.ndarray, config: AuditConfig) -> Finding:
    """Judge the images in which something was covered; what is covered is small, so that it needs no control."""
    question = Question(check=CHECK, asked="letters and text covered", measure=TEXT, limits=config.changed_answers)
    covered, area = text_covered(images.pixels, images.lungs)
    touched = area > 0
    if not touched.any():
        return not_measured(question, "no image has bright thin strokes outside the lungs")
    after = before.copy()
    after[touched] = network.probabilities(covered[touched]).argmax(1)
    changed = (after != before) & touched
    interval = proportion_interval(changed, touched, images.groups)
    detail = (
        f"{int(touched.sum())} of {len(touched)} images have some, on {area[touched].mean():.4f} of their area;"
        f" {_accuracies(before[touched], after[touched], images.truth[touched])}"
    )
    return finding_of_excess(question, float(changed[touched].mean()), interval, detail)


def _accuracies(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> str:
    return f"accuracy {(after == truth).mean():.3f}, uncovered {(before == truth).mean():.3f}"
