import numpy as np
import pytest

from cxr_ray.auditing.network import IMAGES_AT_ONCE, load_audited
from cxr_ray.errors import BundleError

PIXELS = np.random.default_rng(0).integers(0, 256, (IMAGES_AT_ONCE + 3, 32, 32), np.uint8)


def test_a_last_batch_that_is_filled_up_gives_what_each_image_gives_alone(save_network, tmp_path):
    network = load_audited(save_network(tmp_path), "torch")
    probabilities, features = network.probabilities(PIXELS), network.features(PIXELS)
    assert (len(probabilities), len(features)) == (len(PIXELS), len(PIXELS))
    np.testing.assert_allclose(probabilities[-1:], network.classifier.predict(PIXELS[-1:]), atol=1e-5)
    np.testing.assert_allclose(features[-1:], network.encoder.embed(PIXELS[-1:]), atol=1e-4)
    assert len(network.probabilities(PIXELS[:1])) == 1


def test_a_single_label_has_two_outcomes(save_network, tmp_path):
    network = load_audited(save_network(tmp_path, labels=("COVID",)), "torch")
    probabilities = network.probabilities(PIXELS)
    assert network.outputs(PIXELS).shape == (len(PIXELS), 1)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(probabilities[:, 1:], network.outputs(PIXELS), atol=1e-6)


def test_numbers_that_are_not_finite_are_refused(save_random, tmp_path):
    save_random(tmp_path, nan=True)
    with pytest.raises(BundleError, match=f"gives no finite number for {len(PIXELS)} of {len(PIXELS)} images"):
        load_audited(str(tmp_path), "torch").probabilities(PIXELS)
