"""Check b: how much of a heat map lies inside the lungs, beside what the area of the lungs alone would get."""

from dataclasses import dataclass

import numpy as np

from cxr_ray.auditing.audit_images import AuditImages
from cxr_ray.auditing.finding import Finding, Question, finding_of_lack, not_measured
from cxr_ray.auditing.network import IMAGES_AT_ONCE, AuditedNetwork
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.metrics.intervals import mean_interval
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.heat_map import ATTENTION, heat_maps, method_of

CHECK, MEASURE = "b", "heat in lungs / their area"


@dataclass(frozen=True, kw_only=True)
class Heat:
    """Heat inside the lungs of M images whose heat map is not empty.

    Attributes:
        method: name of the method that made the heat maps.
        inside: float64 [M], fraction of the heat that lies inside the lungs.
        area: float64 [M], fraction of the image that the lungs cover.
    """

    method: str
    inside: np.ndarray
    area: np.ndarray


def check_heat(network: AuditedNetwork, images: AuditImages, config: AuditConfig) -> tuple[Finding, Heat | None]:
    """Judge the heat maps of the predicted classes of the images whose lungs are known."""
    classifier = network.classifier
    question = Question(check=CHECK, asked=method_of(classifier), measure=MEASURE, limits=config.heat_lift)
    if images.lungs is None or not images.has_lungs.any():
        return not_measured(question, "no image has a lung mask; name a segmenter with --segmenter-uri"), None
    if reason := unsuited(classifier):
        return not_measured(question, reason), None
    shown = images.has_lungs
    heat, is_warm = _measure(network, images.pixels[shown], images.lungs[shown])
    lift = heat.inside / heat.area
    interval = mean_interval(lift, images.groups[shown][is_warm]) if is_warm.any() else None
    if interval is None:
        return not_measured(question, f"{is_warm.sum()} images have heat; judge more patients"), heat
    detail = f"{heat.inside.mean():.3f} of the heat on {heat.area.mean():.3f} of the area, {is_warm.sum()} images"
    if cold := int((~is_warm).sum()):
        detail += f"; {cold} images without heat left out"
    return finding_of_lack(question, float(lift.mean()), interval, detail), heat


def unsuited(classifier: Classifier) -> str | None:
    """Say why a network has no heat map; None if it has one."""
    network = classifier.network
    if method_of(classifier) == ATTENTION:
        has_token = getattr(network, "cls_token", None) is not None
        return None if has_token else "the vision transformer has no class token, which roll-out needs"
    if getattr(network, "output_fmt", "NCHW") != "NCHW" or hasattr(network, "patch_embed"):
        return f"{classifier.card.backbone} has no feature maps of a convolutional network, which Grad-CAM needs"
    return None


def _measure(network: AuditedNetwork, pixels: np.ndarray, lungs: np.ndarray) -> tuple[Heat, np.ndarray]:
    """Measure the heat of images uint8 [N, S, S] with lungs bool [N, S, S], and tell which have any heat, bool [N]."""
    classes = network.outputs(pixels).argmax(1).tolist()
    inside, total = np.zeros(len(pixels)), np.zeros(len(pixels))
    for start in range(0, len(pixels), IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        heat = heat_maps(network.classifier, pixels[part], classes[part]).astype(np.float64)
        inside[part], total[part] = (heat * lungs[part]).sum((1, 2)), heat.sum((1, 2))
    is_warm = total > 0
    area = lungs.mean((1, 2))
    return Heat(
        method=method_of(network.classifier), inside=inside[is_warm] / total[is_warm], area=area[is_warm]
    ), is_warm
