"""Every backbone has a heat map at the size of the radiograph."""

import io

import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging.radiograph import load_image
from cxr_ray.models.backbones import BACKBONES
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.heat_map import heat_map, heat_maps, heat_title, method_of


@pytest.fixture
def radiograph(radiographs):
    buffer = io.BytesIO()
    Image.fromarray(radiographs[0]).resize((150, 120)).save(buffer, "PNG")
    return load_image(buffer.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_has_a_map_at_the_size_of_the_radiograph(save_random, tmp_path, radiograph, backbone):
    save_random(tmp_path, backbone=backbone, spread=True, image_size=64)
    classifier = Classifier(str(tmp_path), device="cpu")
    for index in (0, 3):
        found = heat_map(classifier, radiograph, index)
        assert (found.dtype, found.shape) == (np.float32, (120, 150))
        assert np.isfinite(found).all()
        assert 0 <= found.min() <= found.max() <= 1
    if backbone == "vit_b16":
        assert (method_of(classifier), heat_title(classifier, "Lung_Opacity")) == ("Attention roll-out",) * 2
        assert found.max() > 0.9
    else:
        assert method_of(classifier) == "Grad-CAM"
        assert heat_title(classifier, "Lung_Opacity") == "Grad-CAM for Lung Opacity"


def test_the_map_lies_over_the_radiograph_as_it_is_displayed(bundle_uri, radiograph):
    classifier = Classifier(bundle_uri, device="cpu", precision="fp32")
    small = heat_maps(classifier, radiograph.squashed(64)[None], [1])[0]
    found = heat_map(classifier, radiograph, 1)
    y, x = np.unravel_index(small.argmax(), small.shape)
    assert small.max() > 0.5
    assert found[int((y + 0.5) / 64 * 120), int((x + 0.5) / 64 * 150)] == pytest.approx(small.max(), abs=0.05)
