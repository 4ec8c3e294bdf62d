import numpy as np
import pytest
import torch

from cxr_ray.errors import BundleError
from cxr_ray.models.bundle import load_weights, read_card, save_bundle
from cxr_ray.models.bundled_int8 import load_int8_network


@pytest.fixture
def save(tmp_path, small_int8):
    """Save a bundle with the small int8 network, some of whose tensors are others; its URI and card."""

    def save(**others):
        tensors = (
            {"w": torch.ones(3)} | small_int8.tensors() | {f"int8.{name}": value for name, value in others.items()}
        )
        present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        card = {"backbone": "resnet50", "labels": ("a", "b"), "image_size": 16, "precision": "int8"}
        return str(tmp_path), save_bundle(str(tmp_path), present, **card)

    return save


def test_a_bundle_keeps_it_beside_its_weights(save, small_int8):
    uri, card = save()
    loaded = load_int8_network(uri, card)
    assert (loaded.graph, loaded.constants) == (small_int8.graph, small_int8.constants)
    np.testing.assert_array_equal(loaded.reference, small_int8.reference)
    assert read_card(uri).precision == "int8"
    assert load_weights(uri, card).keys() == {"w"}


@pytest.mark.parametrize(
    ("others", "fault"),
    [
        ({"constants": None}, "the bundle has no tensor int8.constants"),
        ({"constants": torch.zeros(8)}, "its tensors are of other types"),
        ({"reference": torch.zeros(8, 3)}, r"its reference has the shape \[8, 3\], not \[8, 2\]"),
        ({"constants": torch.zeros(8, dtype=torch.uint8)}, "a constant of shape .* bytes from .* on, of 8"),
        ({"graph": torch.zeros(8, dtype=torch.uint8)}, "its graph is no XML"),
    ],
)
def test_a_network_that_was_tampered_with_is_refused(save, others, fault):
    uri, card = save(**others)
    with pytest.raises(BundleError, match=f"^{uri}: its int8 network is damaged or foreign: {fault}"):
        load_int8_network(uri, card)


def test_tensors_of_other_types_are_named(save):
    uri, card = save(graph=torch.zeros(8, dtype=torch.float16))
    with pytest.raises(
        BundleError, match=r"int8\.graph is of the type F16, not U8 or F32; train or export the model again"
    ):
        load_int8_network(uri, card)
