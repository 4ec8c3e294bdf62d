"""Grad-CAM: where a convolutional classifier finds what speaks for a class.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
arXiv:1610.02391, equations 1 and 2, at the last feature map before the pooling.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.models.classifier import Classifier

if TYPE_CHECKING:
    import torch
    from torch import nn


def grad_cam(classifier: Classifier, pixels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Heat of one class in each image, float32 [N, S, S] in 0 to 1, in fp32; the hottest place of an image is about 1.

    Args:
        classifier: of a convolutional backbone.
        pixels: uint8 [N, S, S] as `Classifier.predict` takes them.
        classes: for each image the position of the class among the bundle's labels.

    Returns:
        All zeros for an image in which nothing speaks for the class.
    """
    import torch
    from torch.nn import functional

    network = classifier.network
    with torch.no_grad():
        features = network.forward_features(classifier.to_input(pixels))  # type: ignore[operator]
    coarse = scaled_to_one(class_activation(network, features, classes))
    fine = functional.interpolate(coarse.unsqueeze(1), size=pixels.shape[1:], mode="bilinear", align_corners=False)
    return fine.squeeze(1).clamp(0, 1).cpu().numpy()


def class_activation(network: "nn.Module", features: "torch.Tensor", classes: Sequence[int]) -> "torch.Tensor":
    """Positive part of the feature maps' sum, each weighted by the mean gradient of the class's logit.

    Args:
        network: has timm's `forward_head` from feature maps to logits [N, C].
        features: float [N, K, h, w], the last feature maps.
        classes: N positions among the logits.

    Returns:
        float [N, h, w], at least 0.
    """
    import torch

    with torch.enable_grad():
        features = features.detach().float().requires_grad_()
        logits = network.forward_head(features)  # type: ignore[operator]
        chosen = logits[torch.arange(len(features)), list(classes)].sum()
        (gradients,) = torch.autograd.grad(chosen, features)
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * features.detach()).sum(1).relu()


def scaled_to_one(maps: "torch.Tensor") -> "torch.Tensor":
    """Maps float [N, h, w], at least 0, each divided by its maximum; one without anything above 0 stays zero."""
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
