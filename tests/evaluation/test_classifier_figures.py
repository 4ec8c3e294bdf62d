import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from cxr_ray.evaluation.classifier_figures import abstention_png, classes_png, external_png, reliability_png
from cxr_ray.evaluation.figures import DARK, LIGHT
from cxr_ray.metrics.abstention import figures_of_abstention
from cxr_ray.metrics.calibration import calibration_metrics
from cxr_ray.metrics.risk_coverage import uncertainty_metrics


def picture(png: bytes) -> tuple[set[tuple[int, int, int]], tuple[int, int]]:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return {colour for _, colour in image.getcolors(maxcolors=2**24)}, image.size


@pytest.fixture
def calibration():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=60)
    metrics = calibration_metrics(np.arange(60) % 3, probabilities)
    return {"scored": metrics, "before_temperature": None, "refitted": metrics | {"temperature": 1.5}}


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_figures_have_the_colours_of_the_page(calibration, palette):
    confidence, right = np.linspace(0.3, 1, 40), np.arange(40) % 3 > 0
    abstention = {"threshold": 0.8, "risk_coverage": uncertainty_metrics(1 - confidence, (~right).astype(float))}
    abstention |= figures_of_abstention(0.8, confidence, right, np.arange(40))
    pair = {"internal": 0.9, "internal_interval": [0.8, 0.95], "external": 0.5, "external_interval": [0.4, 0.6]}
    lost = {"internal": 0.9, "internal_interval": [0.8, 0.95], "external": None, "external_interval": None}
    external = {"per_class": {"COVID": {"recall": pair, "specificity": lost, "auroc": pair}}}

    intervals = {"recall": [0.8, 0.95], "specificity": None, "auroc": [0.7, 0.9]}
    classes = {"COVID": {"recall": 0.9, "specificity": None, "auroc": 0.8, "intervals": intervals}}

    pngs = [reliability_png(calibration, palette), abstention_png(abstention, palette)]
    for png in [*pngs, external_png(external, palette), classes_png(classes, palette)]:
        colours, _ = picture(png)
        assert {ImageColor.getrgb(getattr(palette, name)) for name in ("surface", "ink", "strong")} <= colours


def test_each_calibration_has_a_diagram(calibration):
    one, two = (picture(reliability_png(shown))[1] for shown in (calibration | {"refitted": None}, calibration))

    assert two[0] > 1.5 * one[0]
    assert abs(two[1] - one[1]) < 50
