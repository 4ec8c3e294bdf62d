import numpy as np
import pytest

from cxr_ray.auditing.audit_images import AuditImages
from cxr_ray.auditing.heat_check import check_heat, unsuited
from cxr_ray.auditing.network import load_audited
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.models.heat_map import heat_maps

CONFIG = AuditConfig(model_uri="m", dataset_uri="d", output_uri="o", heat_lift=(1.0, 1.0))
COUNT, SIZE = 24, 64


def images(lungs):
    coarse = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8), np.uint8)
    return AuditImages(
        image_ids=[str(number) for number in range(COUNT)],
        pixels=coarse.repeat(SIZE // 8, 1).repeat(SIZE // 8, 2),
        truth=np.arange(COUNT) % 2,
        labels=("Lung_Opacity", "Normal"),
        groups=np.arange(COUNT),
        lungs=lungs,
        has_lungs=np.zeros(COUNT, bool) if lungs is None else lungs.any((1, 2)),
    )


@pytest.mark.parametrize(
    ("name", "options", "method"),
    [("test_resnet", {"output_stride": 8}, "Grad-CAM"), ("test_vit", {"img_size": SIZE}, "Attention roll-out")],
)
def test_heat_inside_and_outside_the_lungs(save_network, tmp_path, name, options, method):
    network = load_audited(save_network(tmp_path, name, image_size=SIZE, **options), "torch")
    pixels = images(None).pixels
    heat = heat_maps(network.classifier, pixels, network.classifier.predict(pixels).argmax(1).tolist())
    hot = heat > np.quantile(heat, 0.7, axis=(1, 2), keepdims=True)

    found, measured = check_heat(network, images(hot), CONFIG)
    assert (found.question.asked, found.verdict) == (method, "pass")
    expected = (heat * hot).sum((1, 2)) / heat.sum((1, 2))
    warm = heat.sum((1, 2)) > 0
    np.testing.assert_allclose(measured.inside, expected[warm], rtol=1e-5)
    assert found.value == pytest.approx(np.mean(expected[warm] / hot.mean((1, 2))[warm]), rel=1e-5)
    assert check_heat(network, images(~hot), CONFIG)[0].verdict == "fail"


def test_all_of_the_image_gets_what_its_area_gets(save_network, tmp_path):
    """Lungs that fill the image leave no doubt and prove nothing: values without a spread have no interval."""
    network = load_audited(save_network(tmp_path, image_size=SIZE, output_stride=8), "torch")
    found, _ = check_heat(network, images(np.ones((COUNT, SIZE, SIZE), bool)), CONFIG)
    assert found.verdict in ("not measured", "warn")


def test_without_masks_or_a_method_nothing_is_measured(save_network, tmp_path):
    network = load_audited(save_network(tmp_path / "vit", "test_vit", image_size=SIZE, img_size=SIZE), "torch")
    assert unsuited(network.classifier) is None
    found, heat = check_heat(network, images(None), CONFIG)
    assert (found.verdict, heat) == ("not measured", None)
    assert "name a segmenter" in found.detail
    options = {"img_size": SIZE, "class_token": False, "global_pool": "avg"}
    bare = load_audited(save_network(tmp_path / "bare", "test_vit", image_size=SIZE, **options), "torch")
    found, _ = check_heat(bare, images(np.ones((COUNT, SIZE, SIZE), bool)), CONFIG)
    assert found.detail == "the vision transformer has no class token, which roll-out needs"
