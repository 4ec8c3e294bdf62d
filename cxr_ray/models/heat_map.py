"""Heat maps of classifiers: Grad-CAM for convolutional networks, attention roll-out for vision transformers."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from cxr_ray.imaging.radiograph import Radiograph
from cxr_ray.models.attention_rollout import attention_rollout
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.grad_cam import grad_cam

GRAD_CAM, ATTENTION = "Grad-CAM", "Attention roll-out"


def method_of(classifier: Classifier) -> str:
    """Name of the method that suits the backbone: `Attention roll-out` for a vision transformer, else `Grad-CAM`."""
    from timm.models import VisionTransformer

    return ATTENTION if isinstance(classifier.network, VisionTransformer) else GRAD_CAM


def heat_title(classifier: Classifier, label: str) -> str:
    """Title of a heat map; only Grad-CAM names `label`, because attention does not depend on a class."""
    method = method_of(classifier)
    return method if method == ATTENTION else f"{method} for {label.replace('_', ' ')}"


def heat_maps(classifier: Classifier, pixels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Heat maps float32 [N, S, S] in 0 to 1, by the method that suits the backbone.

    Args:
        classifier: a classifier with any backbone.
        pixels: uint8 [N, S, S], as `Classifier.predict` takes them.
        classes: for each image, the index of the class among the bundle's labels; the map of attention roll-out does
            not depend on it.
    """
    if method_of(classifier) == ATTENTION:
        return attention_rollout(classifier, pixels)
    return grad_cam(classifier, pixels, classes)


def heat_map(classifier: Classifier, image: Radiograph, class_index: int) -> np.ndarray:
    """Heat map of one class in one radiograph, float32 [height, width] in 0 to 1, at the size of the displayed image."""
    card = classifier.card
    (heat,) = heat_maps(classifier, image.squashed(card.image_size, card.interpolation)[None], [class_index])
    resized = Image.fromarray(heat).resize((image.width, image.height), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32).clip(0, 1)
