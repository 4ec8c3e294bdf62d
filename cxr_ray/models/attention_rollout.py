"""Attention roll-out: how much each patch of an image contributes to the class token of a vision transformer.

The formula is equation 1 of Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv:2005.00928.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.models.classifier import Classifier
from cxr_ray.models.grad_cam import scaled_to_one

if TYPE_CHECKING:
    import torch
    from torch import nn


def attention_rollout(classifier: Classifier, pixels: np.ndarray) -> np.ndarray:
    """Heat maps, computed in fp32, of how much each patch of an image contributes to the class token.

    A map explains the prediction as a whole, because attention does not depend on a class.

    Args:
        classifier: a classifier whose backbone is a vision transformer of timm with a class token.
        pixels: uint8 [N, S, S], as `Classifier.predict` takes them.

    Returns:
        float32 [N, S, S] in 0 to 1; the maximum of each image is about 1.
    """
    from torch.nn import functional

    network = classifier.network
    patch_height, patch_width = network.patch_embed.patch_size  # type: ignore[misc, union-attr]
    height, width = pixels.shape[1:]
    rows, columns = -(-height // patch_height), -(-width // patch_width)  # timm pads images to whole patches
    sources = patches_of_class_token(network, classifier.to_input(pixels))
    coarse = scaled_to_one(sources.reshape(-1, rows, columns)).unsqueeze(1)
    padded = (rows * int(patch_height), columns * int(patch_width))
    fine = functional.interpolate(coarse, size=padded, mode="bilinear", align_corners=False)
    return fine.squeeze(1)[:, :height, :width].clamp(0, 1).cpu().numpy()


def patches_of_class_token(network: "nn.Module", inputs: "torch.Tensor") -> "torch.Tensor":
    """How much each patch contributes to the class token through all layers.

    Args:
        network: a vision transformer of timm, in eval mode, whose first token is the class token.
        inputs: float [N, 3, H, W].

    Returns:
        float [N, patches], patches in row-major order; the values of an image sum to at most 1, because the class token
        also keeps a part of itself.
    """
    import torch

    with torch.no_grad(), recorded_attention(network) as attentions:
        network(inputs)
    return rollout(torch.stack(attentions))[:, 0, network.num_prefix_tokens :]


def rollout(attentions: "torch.Tensor") -> "torch.Tensor":
    """Attention from the tokens of the last layer to the tokens of the image, through all layers.

    The heads of a layer are averaged, and its skip connection has a weight of one half.

    Args:
        attentions: float [L, N, heads, T, T], the attention of L layers from first to last; rows sum to 1.

    Returns:
        float [N, T, T]; rows sum to 1.
    """
    import torch

    layers = attentions.mean(2)
    identity = torch.eye(layers.shape[-1], dtype=layers.dtype, device=layers.device)
    joint = identity.expand_as(layers[0])
    for layer in layers:
        joint = (layer + identity) / 2 @ joint
    return joint


@contextmanager
def recorded_attention(network: "nn.Module") -> "Iterator[list[torch.Tensor]]":
    """Record the attention of every layer in each forward pass inside the block.

    timm's fused attention never holds the attention matrix in memory, so it is switched off inside the block.

    Args:
        network: a vision transformer of timm.

    Yields:
        A list to which each forward pass appends one tensor float [N, heads, T, T] per layer, from first to last.
    """
    found: list[torch.Tensor] = []
    layers = [block.attn for block in network.blocks]  # type: ignore[union-attr]
    before = [layer.fused_attn for layer in layers]
    hooks = [layer.attn_drop.register_forward_hook(lambda *call: found.append(call[2])) for layer in layers]
    try:
        for layer in layers:
            layer.fused_attn = False
        yield found
    finally:
        for layer, hook, is_fused in zip(layers, hooks, before, strict=True):
            hook.remove()
            layer.fused_attn = is_fused
