"""A small BiomedCLIP, trained on chest phantoms in a minute of CPU time: which lungs does a picture show?

A published CLIP tells pictures apart; that a saliency map covers the whole of what a sentence names asks for more.
The map holds what the image's feature needs to stay close to the text's: a model that is satisfied by any piece of
lung gets a map of any piece of lung. So here the cosine of a picture and a sentence grows with the lung that they
share. It is trained towards the cosine of two masks, as indicator vectors: of the lung that is left in the picture,
and of the lung that the sentence means. That is 1 for the same, 0 for nothing in common, the root of a half for one
of two equal lungs; unlike the zeros and ones of contrastive training, it tells half a lung from a whole one.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cxr_ray.config.segmentation import LUNG_PROMPTS
from cxr_ray.imaging.resize import resize_image
from cxr_ray.models.biomedclip import SPECIAL_TOKENS, BiomedClip, BiomedClipConfig, PromptTokenizer, clip_input
from cxr_ray.models.biomedclip_checkpoint import save_biomedclip
from cxr_ray.phantoms.phantom import Phantom
from cxr_ray.phantoms.phantom_models import LEFT, PHANTOM_LAYER, RIGHT, descend, lung_sides, phantom_views

MEANT = {"both": (RIGHT, LEFT), "right": (RIGHT,), "left": (LEFT,), "none": ()}
"""The lungs that a sentence means."""
PHRASES = {
    "both": ("the lungs", "both lungs", "the lung fields", "the left and right lung fields", "lung parenchyma"),
    "right": ("the right lung", "the right lung field"),
    "left": ("the left lung", "the left lung field"),
    "none": ("no lungs", "no lung field"),
}
TEMPLATES = ("{}", "a chest x-ray of {}", "{} in a frontal chest radiograph", "{} within the rib cage")
LEFT_IN_PICTURES = ("both", "some", "some", "right", "left", "none")
"""The lung of a phantom that its pictures show; `some` is a random part."""
NOISED_SHARE = 0.6
"""Of the pictures, those whose lung gives way to noise."""
PHANTOM_CLIP = BiomedClipConfig(
    vision_hidden=64,
    vision_layers=3,
    vision_heads=4,
    vision_mlp=128,
    text_hidden=64,
    text_layers=2,
    text_heads=2,
    text_mlp=128,
    text_positions=32,
    context=32,
    projection=64,
    text_projection_hidden=64,
)
"""All sizes but that of the vocabulary."""
GRID = PHANTOM_CLIP.image_size // PHANTOM_CLIP.patch_size


def train_phantom_clip(
    uri: str,
    *,
    seed: int = 0,
    phantoms: int = 320,
    steps: int = 300,
    batch_size: int = 8,
    learning_rate: float = 3e-3,
) -> None:
    """Write a BiomedCLIP whose saliency maps of phantoms show the lungs, for `load_biomedclip` to read.

    The sentences come first: their features are fitted to each other, and kept. Then pictures are fitted to them. In
    some, lung gives way to the tissue around it; in the others to the noise of M2IB's bottleneck, which also covers
    much of what is no lung, so that noise means neither.

    Args:
        uri: a folder, for weights and vocabulary.
        seed: of weights, phantoms and pictures; the same on one machine gives the same file.
        phantoms: how many are drawn.
        steps: batches that are learned from.
        batch_size: phantoms in each, with six pictures a phantom.
        learning_rate: its peak.
    """
    captions = phantom_captions()
    tokenizer = PromptTokenizer(vocabulary_of(captions.values()), context=PHANTOM_CLIP.context)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BiomedClip(replace(PHANTOM_CLIP, vocab_size=len(tokenizer.vocabulary)))
        _initialise(model)
        features = _learn_captions(model, tokenizer, captions)
        pictures = _Pictures(phantom_views(phantoms, seed=seed))
        _learn_pictures(model, pictures, features, rng, steps=steps, batch_size=batch_size, rate=learning_rate)
    save_biomedclip(uri, model, tokenizer)


def phantom_captions() -> dict[str, list[str]]:
    """Sentences for each key of `MEANT`, the default prompts of segmentation among them."""
    captions = {
        name: [template.format(phrase) for template in TEMPLATES for phrase in phrases]
        for name, phrases in PHRASES.items()
    }
    for prompt in LUNG_PROMPTS:
        sides = {"left", "right"} & set(prompt.split())
        captions[sides.pop() if len(sides) == 1 else "both"].append(prompt)
    return captions


def vocabulary_of(captions: Iterable[list[str]]) -> list[str]:
    """A token for each word and mark of the captions, after the special ones."""
    words = {word for sentences in captions for one in sentences for word in re.findall(r"\w+|[^\w\s]", one)}
    return [*SPECIAL_TOKENS, *sorted(words)]


def mask_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two masks of one shape as vectors of zeros and ones; 1 if both are empty, 0 if one is."""
    areas = float(np.count_nonzero(a)), float(np.count_nonzero(b))
    if not all(areas):
        return float(areas[0] == areas[1])
    return np.count_nonzero(a & b) / (areas[0] * areas[1]) ** 0.5


def _initialise(model: BiomedClip) -> None:
    """Weights by their layers' widths, since 0.02 is too little for narrow ones; positions as sines and cosines."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    words = model.text.embeddings
    nn.init.normal_(words.word_embeddings.weight)
    nn.init.normal_(words.position_embeddings.weight, std=0.1)
    nn.init.zeros_(words.token_type_embeddings.weight)
    patches, width = model.vision.embeddings, model.config.vision_hidden
    nn.init.xavier_uniform_(patches.patch_embeddings.projection.weight.data.view(width, -1))
    angles = torch.arange(GRID)[:, None] * 0.01 ** (torch.arange(width // 4) / (width // 4))
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = (waves.unsqueeze(axis).expand(GRID, GRID, -1) for axis in (1, 0))
    patches.position_embeddings.data[0, 1:] = torch.cat([rows, columns], 2).flatten(0, 1)


def _learn_captions(
    model: BiomedClip, tokenizer: PromptTokenizer, captions: dict[str, list[str]]
) -> dict[str, torch.Tensor]:
    """Fit the features of sentences to each other; what comes of it, float32 [n, projection] by what they mean."""
    sentences = [one for several in captions.values() for one in several]
    tokens = tokenizer.tokenise(sentences)
    meant = [np.isin((RIGHT, LEFT), MEANT[name]) for name, several in captions.items() for _ in several]
    target = torch.tensor([[mask_cosine(a, b) for b in meant] for a in meant])
    model.train()

    def loss_of_batch() -> torch.Tensor:
        return _distance(model.encode_text(tokens) @ model.encode_text(tokens).T, target)

    descend([*model.text.parameters(), *model.text_projection.parameters()], loss_of_batch, steps=100, rate=2e-3)
    model.eval()
    with torch.no_grad():
        features = model.encode_text(tokens).split([len(several) for several in captions.values()])
    return dict(zip(captions, features, strict=True))


def _learn_pictures(
    model: BiomedClip,
    pictures: "_Pictures",
    features: dict[str, torch.Tensor],
    rng: np.random.Generator,
    *,
    steps: int,
    batch_size: int,
    rate: float,
) -> None:
    """Fit the features of pictures to those of sentences, each phantom's pictures to one sentence of each meaning."""
    to_input = clip_input(torch.device("cpu"))

    def loss_of_batch() -> torch.Tensor:
        chosen = rng.choice(len(pictures.lungs), batch_size, replace=False)
        drawn = [picture for index in chosen for picture in pictures.of(index, rng)]
        pixels, openness, targets = (torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True))
        tokens = model.blocks_until(to_input.normalised(pixels.unsqueeze(1)), PHANTOM_LAYER)
        passed = openness.sigmoid()
        image = model.blocks_after(passed * tokens + (1 - passed) * torch.randn_like(tokens), PHANTOM_LAYER)
        text = torch.stack([torch.stack(_one_of_each(features, rng)) for _ in chosen])
        cosines = image.view(len(chosen), -1, image.shape[-1]) @ text.transpose(1, 2)
        # M2IB's noise is of unit variance: tokens of that size are neither deaf to it nor lost in it
        size = (tokens.square().mean(-1) - 1).square().mean()
        return _distance(cosines, targets.view_as(cosines)) + 0.1 * size

    vision = [*model.vision.parameters(), *model.vision_projection.parameters()]
    descend(vision, loss_of_batch, steps=steps, rate=rate)


def _one_of_each(features: dict[str, torch.Tensor], rng: np.random.Generator) -> list[torch.Tensor]:
    return [several[rng.integers(len(several))] for several in features.values()]


def _distance(cosines: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 10 * functional.mse_loss(cosines, targets)


class _Pictures:
    """Phantoms squashed to CLIP's square, and as they would look without lungs.

    Attributes:
        pixels: uint8 [N, S, S].
        bare: uint8 [N, S, S], the lungs filled with what is around them.
        lungs: uint8 [N, S, S], 0, `RIGHT` or `LEFT`.
    """

    def __init__(self, views: list[Phantom]) -> None:
        size = PHANTOM_CLIP.image_size
        self.pixels = np.stack([resize_image(view.pixels, size, "bicubic") for view in views])
        masks = [resize_image(view.lung_mask.astype(np.uint8) * 255, size) > 127 for view in views]
        self.lungs = np.stack([lung_sides(mask) for mask in masks])
        self.bare = np.stack([_without_lungs(*pair) for pair in zip(self.pixels, self.lungs > 0, strict=True)])

    def of(self, index: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
        """Pictures of one phantom, each with the lung of one of `LEFT_IN_PICTURES`.

        Yields:
            Float32 [S, S] in 0-255; the bottleneck's parameters float32 [T, d]; its cosines with sentences of each
            meaning, float32 [4].
        """
        lungs = self.lungs[index]
        meant = [np.isin(lungs, sides) for sides in MEANT.values()]
        for name in LEFT_IN_PICTURES:
            kept = _part_of(lungs > 0, rng) if name == "some" else np.isin(lungs, MEANT[name])
            target = np.array([mask_cosine(kept, mask) for mask in meant], np.float32)
            contrast, brightness = rng.uniform(0.9, 1.1), rng.uniform(-10, 10)
            if rng.random() < NOISED_SHARE:
                shown, openness = self.pixels[index], _openness(lungs > 0, kept, rng)
            else:
                shown, openness = np.where(kept, self.pixels[index], self.bare[index]), _all_open()
            pixels = np.clip(contrast * (shown.astype(np.float32) - 128) + 128 + brightness, 0, 255)
            yield pixels, openness, target


def _openness(lung: np.ndarray, kept: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Parameters of a bottleneck that shuts out the lung that is not kept, as M2IB might come by them.

    Args:
        lung: bool [S, S].
        kept: bool [S, S], a part of it.
        rng: of how far the rest is open, and of the differences between tokens and between their elements.

    Returns:
        float32 [T, d], whose sigmoids are the shares that pass.
    """
    lung_share, kept_share = _share_of_patches(lung), _share_of_patches(kept)
    is_kept = kept_share > 0.5 * np.maximum(lung_share, 0.1)
    level = np.where(is_kept, rng.uniform(2, 6), rng.uniform(-6, -3))
    level[lung_share < 0.1] = rng.uniform(-6, 5)
    level = np.concatenate([[rng.uniform(-6, 5)], level])  # [CLS] has seen every patch
    spread = np.where(np.concatenate([[False], is_kept]), 1, 2)
    level += spread * rng.random() * rng.standard_normal(len(level))
    elements = rng.standard_normal((len(level), PHANTOM_CLIP.vision_hidden), np.float32)
    return (level[:, None] + (spread * rng.random())[:, None] * elements).astype(np.float32)


def _all_open() -> np.ndarray:
    return np.full((1 + GRID**2, PHANTOM_CLIP.vision_hidden), 9, np.float32)


def _share_of_patches(mask: np.ndarray) -> np.ndarray:
    """Share of each patch, row by row, that a mask bool [S, S] covers."""
    patch = PHANTOM_CLIP.patch_size
    return np.asarray(mask.reshape(GRID, patch, GRID, patch).mean((1, 3)).ravel())


def _part_of(lung: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The patches of a lung, bool [S, S], where a random field is lowest: scattered ones or a few large pieces."""
    patch = PHANTOM_CLIP.patch_size
    cells = int(rng.integers(2, 8)) if rng.random() < 0.5 else GRID
    field = torch.from_numpy(rng.standard_normal((1, 1, cells, cells)))
    field = functional.interpolate(field, size=(GRID, GRID), mode="bicubic", align_corners=True)
    order = np.argsort(field.numpy().ravel())
    area = np.cumsum(_share_of_patches(lung)[order])
    is_kept = np.zeros(GRID * GRID, bool)
    is_kept[order[area <= rng.uniform(0.1, 0.9) * area[-1]]] = True
    return lung & is_kept.reshape(GRID, GRID).repeat(patch, 0).repeat(patch, 1)


def _without_lungs(pixels: np.ndarray, lung: np.ndarray) -> np.ndarray:
    """Uint8 [S, S]: the lungs of a radiograph filled with the mean of what is around, weighted by nearness."""
    from scipy import ndimage

    filled = ndimage.binary_dilation(lung, iterations=5)
    known = (~filled).astype(np.float32)
    weight = ndimage.gaussian_filter(known, 14) + 1e-3
    around = ndimage.gaussian_filter(pixels * known, 14) + 1e-3 * pixels[~filled].mean()
    cover = ndimage.gaussian_filter(filled.astype(np.float32), 2)
    return np.clip(pixels * (1 - cover) + around / weight * cover, 0, 255).astype(np.uint8)
