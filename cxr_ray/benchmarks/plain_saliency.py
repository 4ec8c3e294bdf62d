"""Baseline of `m2ib`: the published loop, which takes one image at a time and runs both encoders in every step."""

import math

import torch
from torch.nn import functional

from cxr_ray.models.biomedclip import BiomedClip
from cxr_ray.models.m2ib import INITIAL
from cxr_ray.models.noise import noise_generator


def plain_saliency(
    model: BiomedClip,
    pixels: torch.Tensor,
    token_ids: torch.Tensor,
    image_id: str,
    *,
    layer: int = 7,
    beta: float = 0.1,
    steps: int = 10,
    draws: int = 10,
    size: int = 224,
) -> torch.Tensor:
    """Saliency map float32 [size, size], 0 to 1, of one image by M2IB as published (Wang et al., arXiv 2312.17174).

    Every step passes `draws` copies of the image and of the sentence through the whole encoders, with the bottleneck
    after block `layer`, and computes the gradients of all weights, because none is frozen. `M2ib` gives the same map.

    Args:
        model: BiomedCLIP in eval mode; the gradients of its weights are not cleared afterwards.
        pixels: float [3, S, S], normalised, on the model's device and in its precision.
        token_ids: int64 [L], the tokens of the sentence, on the model's device.
        image_id: seed of the noise.
        layer: number of the transformer block, from 0, after which the bottleneck is inserted.
        beta: weight of the compression term of the loss.
        steps: number of optimisation steps of the bottleneck.
        draws: number of noise samples in each step.
        size: pixels per side of the map.
    """
    generator = noise_generator(image_id, 0)
    with torch.no_grad():
        alpha = torch.nn.Parameter(torch.full_like(model.blocks_until(pixels[None], layer).float(), INITIAL))
    adam = torch.optim.Adam([alpha], lr=1)
    information = alpha.detach()

    def bottleneck(_block: object, _inputs: object, hidden: torch.Tensor) -> torch.Tensor:
        nonlocal information
        kept = alpha.sigmoid().expand(draws, -1, -1)
        mean, variance = hidden * kept, (1 - kept) ** 2
        information = -0.5 * (1 + variance.log() - mean**2 - variance)
        return mean + variance.sqrt() * torch.randn(hidden.shape, generator=generator).to(hidden)

    hook = model.vision.layers[layer].register_forward_hook(bottleneck)
    try:
        for _ in range(steps):
            adam.zero_grad()
            text = model.encode_text(token_ids.expand(draws, -1))
            first = model.vision(pixel_values=pixels.expand(draws, -1, -1, -1)).last_hidden_state[:, 0]
            image = functional.normalize(model.vision_projection(first), dim=-1)
            loss = beta * information.mean() - functional.cosine_similarity(text, image).mean()
            loss.backward()
            adam.step()
    finally:
        hook.remove()
    patches = information.detach().mean(0).sum(-1)[1:]
    side = math.isqrt(len(patches))
    grid = patches.reshape(1, 1, side, side)
    saliency = functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=False)[0, 0]
    return (saliency - saliency.min()) / (saliency.max() - saliency.min())
