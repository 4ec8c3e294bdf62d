"""timm's own conversions of checkpoints: OpenAI's and open_clip's towers, DINOv2, and other image sizes."""

import inspect
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from cxr_ray.models.state_file import State


def filtered_by_timm(state: "State", model: "nn.Module") -> "State":
    """Convert tensors by the filter of the module of timm that defines `model`; without a filter they are unchanged.

    Position embeddings are interpolated to the model's grid.
    """
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None or not state:
        return state
    options = {"adapt_layer_scale": True} if "adapt_layer_scale" in inspect.signature(convert).parameters else {}
    converted: State = convert(dict(state), model, **options)
    return converted
