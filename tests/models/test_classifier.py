import json
import math

import numpy as np
import pytest
from PIL import Image

from cxr_ray.errors import BundleError
from cxr_ray.imaging.resize import resize_image
from cxr_ray.models.bundle import CARD_NAME, WEIGHTS_NAME
from cxr_ray.models.classifier import Classifier, entropy

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def pixels(radiographs):
    return np.stack([resize_image(image, 64) for image in radiographs])


def baseline(bundle_uri, radiographs):
    """Probabilities in fp32, computed by a few lines of PyTorch."""
    import timm
    import torch
    from safetensors.torch import load_file

    model = timm.create_model("densenet121", num_classes=4).eval()
    model.load_state_dict(load_file(f"{bundle_uri}/{WEIGHTS_NAME}"))
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    inputs = []
    for image in radiographs:
        rgb = np.array(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR).convert("RGB"))
        inputs.append((torch.from_numpy(rgb).permute(2, 0, 1) / 255 - mean) / std)
    with torch.no_grad():
        return model(torch.stack(inputs)).softmax(1).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_fp32_equals_the_baseline(bundle_uri, radiographs, pixels, engine):
    predicted = Classifier(bundle_uri, device="cpu", precision="fp32", engine=engine).predict(pixels)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, baseline(bundle_uri, radiographs), atol=1e-5)
    np.testing.assert_allclose(predicted.sum(1), 1, atol=1e-6)


@pytest.mark.slow
def test_the_network_has_gradients_whatever_the_engine(bundle_uri, pixels):
    import torch

    for engine in ("torch", "openvino"):
        classifier = Classifier(bundle_uri, device="cpu", precision="fp32", engine=engine)
        logits = classifier.network(classifier.to_input(pixels[:2]))
        (gradient,) = torch.autograd.grad(logits.sum(), classifier.network.get_classifier().weight)
        assert gradient.abs().sum() > 0
        np.testing.assert_allclose(logits.detach().softmax(1).numpy(), classifier.predict(pixels[:2]), atol=1e-5)


@pytest.mark.slow
def test_bf16_agrees_on_the_label(bundle_uri, pixels):
    exact = Classifier(bundle_uri, device="cpu", precision="fp32").predict(pixels)
    fast = Classifier(bundle_uri, device="cpu", precision="bf16").predict(pixels)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(fast, exact, atol=0.02)
    first, second = -np.sort(-exact, axis=1)[:, :2].T
    clear = first - second > 0.02
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(fast.argmax(1)[clear], exact.argmax(1)[clear])


# arrays from Arrow are read-only, about which torch warns once
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_pixels_are_not_changed_and_may_be_read_only(bundle_uri, pixels):
    before = pixels.copy()
    frozen = np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape)
    model = Classifier(bundle_uri, device="cpu", precision="fp32")
    np.testing.assert_array_equal(model.predict(frozen), model.predict(pixels))
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.slow
def test_a_single_class_is_a_sigmoid(save_random, tmp_path, pixels):
    save_random(tmp_path, labels=("Pneumonia",))
    predicted = Classifier(str(tmp_path), device="cpu", precision="fp32").predict(pixels)
    assert predicted.shape == (len(pixels), 1)
    assert ((predicted > 0) & (predicted < 1)).all()
    assert np.ptp(predicted) > 0


def edit_card(folder, **changes):
    path = folder / CARD_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "densenet121"}, "weights do not fit densenet121: "),
        ({"labels": ["a", "b", "c"]}, r"weights do not fit efficientnet_b0: size mismatch for classifier\."),
        ({"backbone": "vgg16"}, "no backbone 'vgg16'; choose one of vit_b16"),
        ({"kind": "segmenter"}, "kind 'segmenter'; a 'classifier' is needed here"),
    ],
)
def test_a_card_that_does_not_fit_the_weights_is_a_bundle_error(save_random, tmp_path, changes, message):
    save_random(tmp_path)
    edit_card(tmp_path, **changes)
    with pytest.raises(BundleError, match=message):
        Classifier(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("probs", "expected"),
    [
        ([0.25, 0.25, 0.25, 0.25], math.log(4)),
        ([1, 0, 0, 0], 0),
        ([0.5, 0.5, 0, 0], math.log(2)),
        ([0.7, 0.2, 0.1], -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1))),
        ([0.5], math.log(2)),
        ([1], 0),
        ([0], 0),
        ([0.9], -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))),
    ],
)
def test_entropy_in_nats(probs, expected):
    value = entropy(np.array([probs], np.float32))
    assert value.dtype == np.float32
    assert value.shape == (1,)
    assert value[0] == pytest.approx(expected, abs=1e-6)


def test_entropy_of_no_image():
    assert entropy(np.empty((0, 4), np.float32)).shape == (0,)
