import numpy as np
import pytest
import torch

from cxr_ray.errors import BundleError, ConfigError
from cxr_ray.models.classifier import load_network
from cxr_ray.models.encoder import Encoder, features_of, read_encoder_card
from cxr_ray.models.engines.agreement import check_pixels

PIXELS = check_pixels(32)


@pytest.fixture(scope="module")
def encoder_uri(save_encoder, tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("encoder"))
    save_encoder(uri)
    return uri


@pytest.fixture(scope="module")
def classifier_uri(save_random, tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("classifier"))
    save_random(uri)
    return uri


def test_a_classifier_is_an_encoder_without_its_head(classifier_uri):
    card = read_encoder_card(classifier_uri)
    found = Encoder(classifier_uri, device="cpu", precision="fp32").embed(PIXELS)
    network = load_network(classifier_uri, card, outputs=4)
    images = (
        torch.from_numpy(PIXELS)[:, None].float() / 255 - torch.tensor(card.mean).view(1, 3, 1, 1)
    ) / torch.tensor(card.std).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(images), pre_logits=True)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert features_of(classifier_uri, card, "pooled") == found.shape[1] == 1280


@pytest.mark.parametrize("layer", ["pooled", "blocks.2"])
def test_openvino_gives_the_features_of_torch(encoder_uri, layer):
    expected = Encoder(encoder_uri, layer=layer, device="cpu", precision="fp32").embed(PIXELS)
    encoder = Encoder(encoder_uri, layer=layer, device="cpu", precision="fp32", engine="openvino")
    assert encoder.engine.name == "openvino"
    np.testing.assert_allclose(encoder.embed(PIXELS[:3]), expected[:3], rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert features_of(encoder_uri, encoder.card, layer) == expected.shape[1]


def test_what_is_no_encoder_and_what_is_no_layer_is_refused(encoder_uri, segmenter_uri):
    with pytest.raises(BundleError, match="is a bundle of kind 'segmenter'; an encoder or a classifier is needed here"):
        Encoder(segmenter_uri)
    with pytest.raises(ConfigError, match=rf"{encoder_uri}: EfficientNet has no layer 'block\.2'; similar names are"):
        features_of(encoder_uri, read_encoder_card(encoder_uri), "block.2")
