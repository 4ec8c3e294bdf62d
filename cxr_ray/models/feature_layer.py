"""Features of an image from a layer of a network of timm: what its head reads, its class token, or a layer by name."""

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING

from cxr_ray.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

POOLED, CLS = "pooled", "cls"
"""Names of two layers: what the head of the network reads, and the class token after the last normalisation."""


def feature_reader(network: "nn.Module", layer: str) -> "Callable[[torch.Tensor], torch.Tensor]":
    """Function from normalised images float32 [N, 3, S, S] to features [N, D] of a layer of `network`.

    The output of a layer by name is averaged over its positions: over height and width, or over the tokens of patches.
    The network is computed to its end all the same, because an engine traces it as a whole.

    Args:
        network: network of timm in eval mode.
        layer: `pooled`, `cls`, or the name of a module in `network.named_modules()`, such as `blocks.9` or `layer3`.

    Raises:
        ConfigError: if the network has no such layer; similar names are proposed.
    """
    if layer == POOLED:
        return lambda images: network.forward_head(network.forward_features(images), pre_logits=True)  # type: ignore[operator]
    if layer == CLS:
        if getattr(network, "cls_token", None) is None:
            raise ConfigError(
                f"layer {CLS} needs a network with a class token, and {type(network).__name__} has none; take {POOLED}"
            )
        return lambda images: network.forward_features(images)[:, 0]  # type: ignore[operator]
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        similar = difflib.get_close_matches(layer, modules, 3) or [name for name in modules if name][:3]
        raise ConfigError(
            f"{type(network).__name__} has no layer {layer!r}; similar names are {', '.join([POOLED, *similar])}"
        )
    return lambda images: _output_of(network, layer, images)


def feature_count(network: "nn.Module", layer: str, *, image_size: int) -> int:
    """Number of features D that `feature_reader` gives; a network on the device `meta` answers without arithmetic.

    Raises:
        ConfigError: if the network has no such layer, or its output has no features for each image.
    """
    import torch

    device = next(network.parameters()).device
    images = torch.empty(2, 3, image_size, image_size, device=device)
    with torch.inference_mode():
        return int(feature_reader(network, layer)(images).shape[1])


def _output_of(network: "nn.Module", layer: str, images: "torch.Tensor") -> "torch.Tensor":
    """Output of a module, averaged over positions, float [N, D]."""
    import torch

    outputs: list[torch.Tensor] = []
    module = network.get_submodule(layer)
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        network(images)
    finally:
        hook.remove()
    output = outputs[-1] if outputs else None
    if not isinstance(output, torch.Tensor) or output.ndim not in (2, 3, 4) or output.shape[0] != images.shape[0]:
        raise ConfigError(f"layer {layer!r} gives no tensor with one entry for each image; name another layer")
    if output.ndim == 4:
        layout = getattr(module, "output_fmt", None) or getattr(network, "output_fmt", "NCHW")
        return output.mean((1, 2) if layout == "NHWC" else (2, 3))
    if output.ndim == 3:
        others = 0 if layer.startswith("patch_embed") else getattr(network, "num_prefix_tokens", 0)
        return output[:, others:].mean(1)
    return output
