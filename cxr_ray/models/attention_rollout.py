"""Attention roll-out: from which patches a vision transformer's class token gathers what it knows.

Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv:2005.00928, equation 1.
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
    """How much each place of an image reaches the class token, float32 [N, S, S] in 0 to 1, in fp32.

    The strongest patch of an image is about 1. The map is of the prediction as a whole: attention knows no classes.

    Args:
        classifier: of a vision transformer of timm with a class token.
        pixels: uint8 [N, S, S] as `Classifier.predict` takes them.
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
    """How much of each patch reaches the class token through all layers.

    Args:
        network: a vision transformer of timm, in eval mode, whose first token is the class token.
        inputs: float [N, 3, H, W].

    Returns:
        float [N, patches], row by row; a row sums to at most one, for the class token keeps something of itself.
    """
    import torch

    with torch.no_grad(), recorded_attention(network) as attentions:
        network(inputs)
    return rollout(torch.stack(attentions))[:, 0, network.num_prefix_tokens :]


def rollout(attentions: "torch.Tensor") -> "torch.Tensor":
    """Attention of the last layer's tokens to the image's, through every layer.

    The heads of a layer are averaged, and its skip connection counts for one half.

    Args:
        attentions: float [L, N, heads, T, T] of L layers, the first one first; rows sum to one.

    Returns:
        float [N, T, T]; rows sum to one.
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
    """A list that each forward pass inside the block extends by every layer's attention, float [N, heads, T, T].

    timm's fused attention never holds it in memory, so it is switched off inside the block.

    Args:
        network: a vision transformer of timm.
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
