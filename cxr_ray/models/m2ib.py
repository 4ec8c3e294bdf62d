"""Saliency by a multi-modal information bottleneck: which patches an image needs to fit a sentence."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import torch
from torch.nn import functional

from cxr_ray.errors import ConfigError
from cxr_ray.models.biomedclip import BiomedClip
from cxr_ray.models.precision import Precision, autocast

INITIAL = 5.0
"""Of the bottleneck's parameter: 99.3 % of every token passes."""
MAX_ROWS = {"cpu": 20, "cuda": 160}
"""Rows (images times draws) in one pass; more gain no speed, and cost about 35 MB each at four blocks in fp32."""
NOISE_THREADS = 8


class M2ib:
    """Saliency maps of a frozen BiomedCLIP, a batch at a time (Wang et al., arXiv 2312.17174).

    After block `layer` every token x is mixed with noise e ~ N(0, 1): z = lambda x + (1 - lambda) e, with
    lambda = sigmoid(a). For each image, Adam fits a to minimise beta mean(K) - cos(text, image(z)), averaged over the
    draws of e, where K = -1/2 (1 + log (1 - lambda)^2 - (lambda x)^2 - (1 - lambda)^2) is the information in nats that
    each element passes. The map is K summed over the channels.

    The images of a batch share nothing but the passes through the blocks: up to rounding, a map depends on the image,
    the text, the image's id and the settings, not on what stands beside it or on which worker it runs.

    Args:
        model: put into eval mode, and its weights are frozen.
        layer: zero-based; the published sets use 7 and 9.
        steps: forward passes of the published method, which reads the map off the last of them, before its update;
            that last update, on which no map depends, is not computed.
        draws: of noise a step.
        learning_rate: of Adam.
        seed: of the noise, beside the image's id.
        precision: of the blocks; a, K and the noise are fp32. fp32 is the reference.
        max_rows: images times draws in one pass, which bounds the memory; by the device if None.

    Raises:
        ConfigError: if a setting is out of its range, or precision is fp16, in which the gradients underflow.
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
        """Maps float32 [B, size, size] in 0-1, on the device of `pixels`; each spans 0-1 unless it is flat, then 0.

        Args:
            pixels: float [B, 3, S, S], normalised as by `clip_input`, on the model's device.
            text_features: float [B, D], or [D] for all; of `encode_text`, or means of such.
            image_ids: B ids, which seed the noise; rows of one id see the same noise.
            beta: weight of the compression, or float [B], so that a sweep is a batch.
            size: pixels a side of the maps, whose frame is that of `pixels`.

        Raises:
            ValueError: if there are not B ids, texts or betas.
        """
        count = len(pixels)
        if len(image_ids) != count:
            raise ValueError(f"image_ids must be {count}, one an image; got {len(image_ids)}")
        rows = self.max_rows or MAX_ROWS.get(pixels.device.type, MAX_ROWS["cpu"])
        images = max(1, rows // self.draws)
        # Not in the caller's inference mode, whose tensors autograd refuses.
        with torch.inference_mode(False), ThreadPoolExecutor(min(NOISE_THREADS, os.cpu_count() or 1)) as pool:
            text = _one_each("text_features", functional.normalize(text_features.float(), dim=-1), count, ndim=2)
            betas = _one_each("beta", torch.as_tensor(beta).to(pixels.device, torch.float32, copy=True), count, ndim=1)
            maps = [pixels.new_zeros(0, size, size, dtype=torch.float32)]
            for start in range(0, count, images):
                chunk = slice(start, start + images)
                generators = [noise_generator(image_id, self.seed) for image_id in image_ids[chunk]]
                information = self._fitted(pixels[chunk], text[chunk], betas[chunk], generators, pool)
                maps.append(_read_out(information, size))
            return torch.cat(maps)

    def _fitted(
        self,
        pixels: torch.Tensor,
        text: torch.Tensor,
        betas: torch.Tensor,
        generators: list[torch.Generator],
        pool: ThreadPoolExecutor,
    ) -> torch.Tensor:
        """K float32 [B, T, d] in nats, at the last forward pass."""
        with torch.no_grad(), autocast(pixels.device, self.precision):
            tokens = self.model.blocks_until(pixels, self.layer).float()
        mix = torch.full_like(tokens, INITIAL)
        adam = torch.optim.Adam([mix], lr=self.learning_rate)
        for _ in range(self.steps - 1):
            noise = _draw(generators, (self.draws, *tokens.shape[1:]), pixels.device, pool)
            mix.grad = self._gradient(mix, tokens, noise, text, betas)
            adam.step()
        return _information(mix, tokens)

    def _gradient(
        self, mix: torch.Tensor, tokens: torch.Tensor, noise: torch.Tensor, text: torch.Tensor, betas: torch.Tensor
    ) -> torch.Tensor:
        """Of the loss SUMMED over images by `mix` float32 [B, T, d], so that each image's is that of a run of its own."""
        with torch.enable_grad():
            leaf = mix.detach().requires_grad_()
            # sigmoid(-a), not 1 - sigmoid(a), which loses its digits where nearly all passes
            mixed = (leaf.sigmoid() * tokens).unsqueeze(1) + (-leaf).sigmoid().unsqueeze(1) * noise
            with autocast(mixed.device, self.precision):
                image = self.model.blocks_after(mixed.flatten(0, 1), self.layer)
            cosine = (image.unflatten(0, noise.shape[:2]) * text.unsqueeze(1)).sum(-1).mean(1)
            loss = betas * _information(leaf, tokens).mean((1, 2)) - cosine
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return gradient


def noise_generator(image_id: str, seed: int) -> torch.Generator:
    """On the CPU, whose numbers are the same beside every kind of GPU; drawn from once a step, [draws, T, d]."""
    digest = sha256(f"{seed}:{image_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _draw(
    generators: list[torch.Generator], shape: tuple[int, ...], device: torch.device, pool: ThreadPoolExecutor
) -> torch.Tensor:
    """The next noise of every image, float32 [B, *shape]; drawn while a GPU is still at the step before."""
    noise = torch.empty(len(generators), *shape, pin_memory=device.type == "cuda")
    list(pool.map(lambda generator, rows: torch.randn(shape, generator=generator, out=rows), generators, noise))
    return noise.to(device, non_blocking=True)


def _information(mix: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """K of the class docstring, float32 of the shape of both; finite for any `mix`."""
    passed = mix.sigmoid() * tokens
    return -0.5 * (1 + 2 * functional.logsigmoid(-mix) - passed.square() - (-mix).sigmoid().square())


def _read_out(information: torch.Tensor, size: int) -> torch.Tensor:
    """K [B, T, d] -> [B, size, size]: summed over channels, without [CLS], bilinear, each map scaled to 0-1."""
    patches = information.sum(-1)[:, 1:]
    side = math.isqrt(patches.shape[1])
    grid = patches.reshape(-1, 1, side, side)
    maps = functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=False).squeeze(1)
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def _one_each(name: str, values: torch.Tensor, count: int, *, ndim: int) -> torch.Tensor:
    """`values` with a first axis of `count`, which one value for all is spread over."""
    if values.ndim == ndim and len(values) == count:
        return values
    if values.ndim == ndim - 1:
        return values.expand(count, *values.shape)
    raise ValueError(f"{name} must be one for all or one for each of {count} images; got {list(values.shape)}")
