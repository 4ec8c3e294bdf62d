"""Grad-CAM equals maps computed by hand, and the class activation map of backbones that pool."""

import numpy as np
import pytest
import torch
from torch import nn

from cxr_ray.models.classifier import Classifier
from cxr_ray.models.grad_cam import class_activation, grad_cam, scaled_to_one


class PoolingHead(nn.Module):
    """Head that averages each feature map and computes one logit per class."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward_head(self, features):
        return features.mean((2, 3)) @ self.weights.T


def test_a_map_equals_the_one_computed_by_hand():
    features = torch.tensor([[[[1.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [1.0, 0.0]]]])
    network = PoolingHead([[1.0, 0.0], [2.0, -1.0]])
    # class 1: 2 * first - 1 * second = [[2, -3], [3, 0]]; the negative part does not support the class
    expected = torch.tensor([[[2.0, 0.0], [3.0, 0.0]]]) / 4
    torch.testing.assert_close(class_activation(network, features, [1]), expected)
    torch.testing.assert_close(class_activation(network, features, [0]), features[:, 0] / 4)


def test_each_image_is_explained_for_its_own_class():
    features = torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    found = class_activation(PoolingHead([[1.0, 0.0], [0.0, 1.0]]), features, [1, 0])
    torch.testing.assert_close(found, torch.stack([features[0, 1], features[1, 0]]) / 9)


def test_a_map_of_zeros_stays_zero():
    maps = torch.stack([torch.zeros(2, 2), torch.tensor([[0.0, 4.0], [1.0, 0.0]])])
    assert scaled_to_one(maps).tolist() == [[[0, 0], [0, 0]], [[0, 1], [0.25, 0]]]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_b0", "densenet121"])
def test_grad_cam_of_a_backbone_that_pools_is_the_class_activation_map(save_random, tmp_path, radiographs, backbone):
    """The class activation map (Zhou et al. 2016) weights the last feature maps by the head's weights of the class."""
    save_random(tmp_path, backbone=backbone, spread=True)
    classifier = Classifier(str(tmp_path), device="cpu", precision="fp32")
    pixels = np.stack([image[:64, :64] for image in radiographs[:3]])
    found = grad_cam(classifier, pixels, [2, 0, 1])
    assert (found.dtype, found.shape) == (np.float32, (3, 64, 64))
    assert found.min() >= 0
    assert found.max() <= 1
    with torch.no_grad():
        features = classifier.network.forward_features(classifier.to_input(pixels))
        weights = classifier.network.get_classifier().weight[[2, 0, 1]]
        expected = scaled_to_one(torch.einsum("nk,nkhw->nhw", weights, features).relu())
        expected = nn.functional.interpolate(expected[:, None], size=(64, 64), mode="bilinear")[:, 0]
    assert expected.amax((1, 2)).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_grad_cam_leaves_no_gradients_in_the_network(bundle_uri, radiographs):
    classifier = Classifier(bundle_uri, device="cpu", precision="fp32")
    pixels = np.stack([image[:64, :64] for image in radiographs[:2]])
    before = classifier.predict(pixels)
    grad_cam(classifier, pixels, [0, 1])
    assert all(parameter.grad is None for parameter in classifier.network.parameters())
    np.testing.assert_array_equal(classifier.predict(pixels), before)
