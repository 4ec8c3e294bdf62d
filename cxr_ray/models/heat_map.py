"""Where a classifier looked: Grad-CAM for convolutional networks, attention roll-out for vision transformers."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from cxr_ray.imaging.radiograph import Radiograph
from cxr_ray.models.attention_rollout import attention_rollout
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.grad_cam import grad_cam

GRAD_CAM, ATTENTION = "Grad-CAM", "Attention roll-out"


def method_of(classifier: Classifier) -> str:
    """The name of the method that suits the backbone: `Grad-CAM`, or `Attention roll-out` for a vision transformer."""
    from timm.models import VisionTransformer

    return ATTENTION if isinstance(classifier.network, VisionTransformer) else GRAD_CAM


def heat_title(classifier: Classifier, label: str) -> str:
    """What a picture of the heat is called; attention knows no classes, so `label` is named for Grad-CAM only."""
    method = method_of(classifier)
    return method if method == ATTENTION else f"{method} for {label.replace('_', ' ')}"


def heat_maps(classifier: Classifier, pixels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Heat float32 [N, S, S] in 0 to 1 by the method that suits the backbone.

    Args:
        classifier: of any backbone.
        pixels: uint8 [N, S, S] as `Classifier.predict` takes them.
        classes: for each image the position of the class among the bundle's labels; attention roll-out, which knows
            no classes, gives the same map for all.
    """
    if method_of(classifier) == ATTENTION:
        return attention_rollout(classifier, pixels)
    return grad_cam(classifier, pixels, classes)


def heat_map(classifier: Classifier, image: Radiograph, class_index: int) -> np.ndarray:
    """Heat float32 [height, width] in 0 to 1 of one class in one radiograph, at the size at which it is displayed."""
    card = classifier.card
    (heat,) = heat_maps(classifier, image.squashed(card.image_size, card.interpolation)[None], [class_index])
    resized = Image.fromarray(heat).resize((image.width, image.height), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32).clip(0, 1)
