"""Saliency by a multi-modal information bottleneck: which patches an image needs to match a sentence."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import torch
from torch.nn import functional

from cxr_ray.errors import ConfigError
from cxr_ray.models.biomedclip import BiomedClip
from cxr_ray.models.noise import Noise
from cxr_ray.models.precision import Precision, autocast, precision_of_gradients

INITIAL = 5.0
"""Initial value of the bottleneck's parameter a, at which 99.3 % of every token passes."""
MAX_ROWS = {"cpu": 20, "cuda": 160}
"""Maximum rows (images times draws) in one pass: more are not faster; a row takes about 35 MB in 4 fp32 blocks."""
NOISE_THREADS = 8
"""Maximum number of threads that draw noise."""


class M2ib:
    """Saliency maps of a frozen BiomedCLIP, computed in batches (Wang et al., arXiv 2312.17174).

    After block `layer` every token x is mixed with noise e ~ N(0, 1): z = lambda x + (1 - lambda) e, with
    lambda = sigmoid(a). For each image, Adam fits a to minimise beta mean(K) - cos(text, image(z)), averaged over the
    draws of e, where K = -1/2 (1 + log (1 - lambda)^2 - (lambda x)^2 - (1 - lambda)^2) is the information in nats that
    each element passes. The map is K summed over the channels.

    The images of a batch share only the passes through the blocks: up to rounding, a map depends on the image, the
    text, the image's id and the settings, not on the other images of the batch or on the worker.

    Args:
        model: a BiomedCLIP, which is put into eval mode and whose weights are frozen.
        layer: zero-based index of the block after which noise is mixed in; the published settings use 7 and 9.
        steps: number of forward passes of the published method. It reads the map from the last pass, so the update
            after that pass is not computed.
        draws: number of noise samples per step.
        learning_rate: learning rate of Adam.
        seed: seed of the noise, combined with the image's id.
        precision: precision of the blocks, with fp32 as the reference; a, K and the noise are always fp32.
        max_rows: maximum of images times draws in one pass, which limits the memory; None takes the device's default.

    Raises:
        ConfigError: if a setting is out of its range, or `precision` is fp16, in which the gradients underflow.
    """

    def __init__(
        self,
        model: BiomedClip,
        *,
        layer: int = 7,
        steps: int = 10,
        draws: int = 10,
        learning_rate: float = 1.0,
        seed: int = 0,
        precision: Precision = "auto",
        max_rows: int | None = None,
    ) -> None:
        blocks = model.config.vision_layers
        if not 0 <= layer < blocks:
            raise ConfigError(f"layer must be 0 to {blocks - 1}, a block of the vision encoder; got {layer}")
        if min(steps, draws) < 1:
            raise ConfigError(f"steps and draws must be >= 1; got {steps} and {draws}")
        if precision == "fp16":
            raise ConfigError("precision fp16 loses the bottleneck's gradients, which are below its range; use bf16")
        self.model = model.eval().requires_grad_(False)
        self.layer, self.steps, self.draws = layer, steps, draws
        self.learning_rate, self.seed, self.precision, self.max_rows = learning_rate, seed, precision, max_rows

    def saliency(
        self,
        pixels: torch.Tensor,
        text_features: torch.Tensor,
        image_ids: Sequence[str],
        *,
        beta: float | torch.Tensor = 0.1,
        size: int = 224,
    ) -> torch.Tensor:
        """Saliency maps float32 [B, size, size] on the device of `pixels`; each spans 0 to 1, and a flat map is all 0.

        Args:
            pixels: float [B, 3, S, S], normalised as by `clip_input`, on the model's device.
            text_features: float [B, D], or [D] for all images: features of `encode_text`, or means of such features.
            image_ids: B ids, which seed the noise; images with the same id get the same noise.
            beta: weight of the compression; a float [B] gives each image its own, so that a sweep can be one batch.
            size: height and width of the maps in pixels; a map covers the frame of `pixels`.

        Raises:
            ValueError: if the number of ids, texts or betas is not B.
        """
        count = len(pixels)
        if len(image_ids) != count:
            raise ValueError(f"image_ids must hold {count} ids, one per image; got {len(image_ids)}")
        rows = self.max_rows or MAX_ROWS.get(pixels.device.type, MAX_ROWS["cpu"])
        images = max(1, rows // self.draws)
        # Autograd refuses tensors of inference mode, so a caller's inference mode is left here.
        with torch.inference_mode(False), ThreadPoolExecutor(min(NOISE_THREADS, os.cpu_count() or 1)) as pool:
            text = _one_each("text_features", functional.normalize(text_features.float(), dim=-1), count, ndim=2)
            betas = _one_each("beta", torch.as_tensor(beta).to(pixels.device, torch.float32, copy=True), count, ndim=1)
            maps = [pixels.new_zeros(0, size, size, dtype=torch.float32)]
            for start in range(0, count, images):
                chunk = slice(start, start + images)
                noise = Noise(image_ids[chunk], self.seed, pixels.device, pool)
                information = self._fitted(pixels[chunk], text[chunk], betas[chunk], noise)
                maps.append(_read_out(information, size))
            return torch.cat(maps)

    def _fitted(
        self,
        pixels: torch.Tensor,
        text: torch.Tensor,
        betas: torch.Tensor,
        noise: Noise,
    ) -> torch.Tensor:
        """Fit the bottleneck to each image; the result is K, float32 [B, T, d] in nats, at the last forward pass."""
        with torch.no_grad(), self._autocast(pixels.device):
            tokens = self.model.blocks_until(pixels, self.layer).float()
        mix = torch.full_like(tokens, INITIAL)
        adam = torch.optim.Adam([mix], lr=self.learning_rate)
        for _ in range(self.steps - 1):
            mix.grad = self._gradient(mix, tokens, noise.draw((self.draws, *tokens.shape[1:])), text, betas)
            adam.step()
        return _information(mix, tokens)

    def _gradient(
        self, mix: torch.Tensor, tokens: torch.Tensor, noise: torch.Tensor, text: torch.Tensor, betas: torch.Tensor
    ) -> torch.Tensor:
        """Gradient of the loss by `mix`, float32 [B, T, d]; the loss is SUMMED over images, which stay independent."""
        with torch.enable_grad():
            leaf = mix.detach().requires_grad_()
            # sigmoid(-a) keeps the digits that 1 - sigmoid(a) loses where nearly everything passes
            mixed = (leaf.sigmoid() * tokens).unsqueeze(1) + (-leaf).sigmoid().unsqueeze(1) * noise
            with self._autocast(mixed.device):
                image = self.model.blocks_after(mixed.flatten(0, 1), self.layer)
            cosine = (image.unflatten(0, noise.shape[:2]) * text.unsqueeze(1)).sum(-1).mean(1)
            loss = betas * _information(leaf, tokens).mean((1, 2)) - cosine
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return gradient

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        return autocast(device, precision_of_gradients(device, self.precision))


def _information(mix: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """K in nats by the formula of `M2ib`, float32 in the shape of `mix` and `tokens`; it is finite for any `mix`."""
    passed = mix.sigmoid() * tokens
    return -0.5 * (1 + 2 * functional.logsigmoid(-mix) - passed.square() - (-mix).sigmoid().square())


def _read_out(information: torch.Tensor, size: int) -> torch.Tensor:
    """Maps [B, size, size] in 0 to 1 of K [B, T, d]: summed over channels, without [CLS], enlarged bilinearly, scaled."""
    patches = information.sum(-1)[:, 1:]
    side = math.isqrt(patches.shape[1])
    grid = patches.reshape(-1, 1, side, side)
    maps = functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=False).squeeze(1)
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def _one_each(name: str, values: torch.Tensor, count: int, *, ndim: int) -> torch.Tensor:
    """`values` with a first axis of `count`; a single value is repeated for all images."""
    if values.ndim == ndim and len(values) == count:
        return values
    if values.ndim == ndim - 1:
        return values.expand(count, *values.shape)
    raise ValueError(
        f"{name} must hold one value for all or one for each of {count} images; got shape {list(values.shape)}"
    )
