"""Grad-CAM: which regions of an image support a class in a convolutional classifier.

The formulas are equations 1 and 2 of Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", arXiv:1610.02391, applied to the last feature maps before the pooling.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.models.classifier import Classifier

if TYPE_CHECKING:
    import torch
    from torch import nn


def grad_cam(classifier: Classifier, pixels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Heat map of one class in each image, computed in fp32.

    Args:
        classifier: a classifier with a convolutional backbone.
        pixels: uint8 [N, S, S], as `Classifier.predict` takes them.
        classes: for each image, the index of the class among the bundle's labels.

    Returns:
        float32 [N, S, S] in 0 to 1; the maximum of an image is about 1, or 0 if nothing supports the class.
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
    """Positive part of the weighted sum of the feature maps; a map's weight is the mean gradient of the class's logit.

    Args:
        network: a network with timm's `forward_head`, which turns feature maps into logits [N, C].
        features: float [N, K, h, w], the last feature maps.
        classes: N indexes of logits, one per image.

    Returns:
        float [N, h, w], 0 or more.
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
    """Divide each of the maps float [N, h, w], 0 or more, by its maximum; a map of zeros stays zero."""
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
