"""Segmenter bundles are written, read and refused, and their ensembles segment images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr_ray.errors import BundleError
from cxr_ray.imaging.resize import resize_image
from cxr_ray.models.bundle import read_card, save_bundle
from cxr_ray.models.segmenter import Segmenter
from cxr_ray.models.segmenter_ensemble import (
    SegmenterCard,
    build_segmenter_network,
    ensemble_weights,
    member_weights,
    standardised,
    suited_to_cpu,
)

FILTERS = (4, 8, 8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """URI of a bundle with two networks, and these networks."""
    torch.manual_seed(0)
    networks = [build_segmenter_network(FILTERS, deep_supervision=1) for _ in range(2)]
    uri = str(tmp_path_factory.mktemp("segmenter"))
    members = [member_weights(network) for network in networks]
    save_bundle(uri, ensemble_weights(members), SegmenterCard, filters=FILTERS, members=2, image_size=32)
    return uri, networks


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).integers(0, 256, (3, 32, 32), dtype=np.uint8)


def test_a_prediction_is_the_mean_of_the_networks(saved, pixels):
    uri, networks = saved
    found = Segmenter(uri, device="cpu", precision="fp32").predict(pixels)
    inputs = standardised(torch.from_numpy(pixels)[:, None].float())
    with torch.inference_mode():
        expected = torch.stack([network.eval()(inputs).sigmoid() for network in networks]).mean(0)[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    card = read_card(uri, SegmenterCard)
    assert card.model_id.startswith("dynunet-")
    assert (card.filters, card.members, card.labels) == (FILTERS, 2, ("lung",))


def test_exposure_does_not_matter(saved):
    segmenter = Segmenter(saved[0], device="cpu", precision="fp32")
    image = np.random.default_rng(2).integers(0, 100, (1, 32, 32), dtype=np.uint8)
    torch.testing.assert_close(segmenter.predict(image), segmenter.predict(2 * image + 40), atol=1e-4, rtol=0)
    assert segmenter.predict(np.full((1, 32, 32), 7, np.uint8)).isfinite().all(), "a blank film is no error"


def test_weights_of_another_architecture_are_refused(saved, tmp_path):
    card = json.loads(Path(saved[0], "model.json").read_text()) | {"filters": [4, 8, 16]}
    (tmp_path / "model.json").write_text(json.dumps(card))
    (tmp_path / "model.safetensors").write_bytes(Path(saved[0], "model.safetensors").read_bytes())
    with pytest.raises(
        BundleError,
        match=r"weights do not fit 2 U-Nets of \(4, 8, 16\): .* is missing, unknown or of another shape; train",
    ):
        Segmenter(str(tmp_path), device="cpu")


def test_the_bundle_of_a_classifier_is_refused(tmp_path):
    save_bundle(str(tmp_path), {"w": torch.zeros(1)}, backbone="resnet50", labels=("a", "b"), image_size=32)
    with pytest.raises(BundleError, match="is a bundle of kind 'classifier'; a 'segmenter' is needed here"):
        Segmenter(str(tmp_path))


def test_the_form_for_cpus_computes_the_same():
    torch.manual_seed(3)
    network, inputs = build_segmenter_network(FILTERS, deep_supervision=1).train(), torch.randn(2, 1, 32, 32)
    expected = network(inputs)
    expected.square().mean().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    network.zero_grad()
    suited = suited_to_cpu(network)
    assert not any(isinstance(module, torch.nn.InstanceNorm2d) for module in suited.modules())
    found = suited(inputs)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    found.square().mean().backward()
    for name, parameter in suited.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-4, rtol=1e-3)


def test_a_mirrored_ensemble_sees_both_views(saved, pixels, tmp_path):
    uri, networks = saved
    members = [member_weights(network) for network in networks]
    card = save_bundle(
        str(tmp_path), ensemble_weights(members), SegmenterCard, filters=FILTERS, members=2, image_size=32, mirrored=1.0
    )
    plain = Segmenter(uri, device="cpu", precision="fp32")
    both = Segmenter(str(tmp_path), device="cpu", precision="fp32").predict(pixels)
    turned = plain.predict(np.ascontiguousarray(pixels[:, :, ::-1])).flip(2)
    torch.testing.assert_close(both, (plain.predict(pixels) + turned) / 2, atol=1e-5, rtol=0)
    assert card.model_id == plain.card.model_id
    assert card.preprocessing_id != plain.card.preprocessing_id, "its rows are no continuation of the others"


def test_a_mirror_image_with_a_margin_is_segmented_smaller_and_scaled_back(saved, tmp_path):
    uri, networks = saved
    members = [member_weights(network) for network in networks]
    save_bundle(
        str(tmp_path),
        ensemble_weights(members),
        SegmenterCard,
        filters=FILTERS,
        members=2,
        image_size=32,
        mirrored=0.75,
    )
    rows, columns = np.mgrid[:32, :32]
    disc = (200 * np.exp(-((rows - 20) ** 2 + (columns - 9) ** 2) / 50)).astype(np.uint8)[None]
    plain = Segmenter(uri, device="cpu", precision="fp32")
    both = Segmenter(str(tmp_path), device="cpu", precision="fp32").predict(disc)
    small = np.zeros((1, 32, 32), np.uint8)
    small[0, 4:28, 4:28] = resize_image(np.ascontiguousarray(disc[0, :, ::-1]), 24)
    small_map = plain.predict(small)[0, 4:28, 4:28].numpy()
    back = resize_image((255 * small_map).round().astype(np.uint8), 32)[:, ::-1] / 255
    seen_again = (2 * both - plain.predict(disc))[0].numpy()
    assert np.corrcoef(seen_again.ravel(), back.ravel())[0, 1] > 0.98
    assert np.abs(seen_again - back).mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("mirrored", [0.0, 1.0, 0.75])
def test_openvino_computes_the_same(saved, pixels, tmp_path, mirrored):
    members = [member_weights(network) for network in saved[1]]
    save_bundle(
        str(tmp_path),
        ensemble_weights(members),
        SegmenterCard,
        filters=FILTERS,
        members=2,
        image_size=32,
        mirrored=mirrored,
    )
    expected, found = (
        Segmenter(str(tmp_path), device="cpu", precision="fp32", engine=engine).predict(pixels)
        for engine in ("torch", "openvino")
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
