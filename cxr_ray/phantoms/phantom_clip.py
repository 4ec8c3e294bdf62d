"""Train a small BiomedCLIP on chest phantoms, in about half a minute, to tell which lungs a picture shows.

Contrastive training only separates pictures; it does not make a saliency map cover the whole object that a sentence
names. A saliency map contains the regions that keep the feature of the image close to the feature of the text, so the
map of a model that needs only a piece of lung covers only a piece of lung. Therefore the cosine of a picture and a
sentence is trained to be the cosine of two masks as indicator vectors: the mask of the lung that is visible in the
picture, and the mask of the lung that the sentence means. This cosine is 1 for equal masks, 0 for disjoint masks, and
the square root of 1/2 for one of two equal lungs. Unlike a target of 0 or 1, it distinguishes half a lung from a whole.
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
from cxr_ray.phantoms.phantom_models import LEFT, PHANTOM_LAYER, RIGHT, descend, lung_sides

MEANT = {"both": (RIGHT, LEFT), "right": (RIGHT,), "left": (LEFT,), "none": ()}
"""Lungs that a sentence means, by the kind of the sentence."""
PHRASES = {
    "both": ("the lungs", "both lungs", "the lung fields", "the left and right lung fields", "lung parenchyma"),
    "right": ("the right lung", "the right lung field"),
    "left": ("the left lung", "the left lung field"),
    "none": ("no lungs", "no lung field"),
}
TEMPLATES = ("{}", "a chest x-ray of {}", "{} in a frontal chest radiograph", "{} within the rib cage")
VISIBLE_IN_PICTURES = ("both", "some", "some", "right", "left", "none")
"""Lung that is visible in each picture of a phantom; `some` is a random part of both lungs."""
NOISE_FRACTION = 0.6
"""Fraction of the pictures whose hidden lung is replaced by noise; in the others, surrounding tissue replaces it."""
PHANTOM_CLIP = BiomedClipConfig(
    image_size=160,
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
"""Sizes of the model, except that of the vocabulary."""
GRID = PHANTOM_CLIP.image_size // PHANTOM_CLIP.patch_size


def train_phantom_clip(
    uri: str,
    views: list[Phantom],
    *,
    seed: int = 0,
    steps: int = 200,
    batch_size: int = 6,
    learning_rate: float = 3e-3,
) -> None:
    """Write a BiomedCLIP whose saliency maps of phantoms show the lungs, for `load_biomedclip` to read.

    First the features of sentences are fitted to each other. Then the features of pictures are fitted to those of the
    sentences. In some pictures the tissue around the hidden lung replaces it. In the others the noise of M2IB's
    bottleneck replaces it and also covers much of the rest of the image, so that noise means neither lung nor no lung.

    Args:
        uri: folder that receives the weights and the vocabulary.
        views: the phantoms to learn from, at least `batch_size`.
        seed: seed of weights and pictures; on one machine, the same seed and views give the same file.
        steps: number of training steps, each on one batch.
        batch_size: number of phantoms per batch; each phantom gives six pictures.
        learning_rate: peak of the learning rate.

    Raises:
        StorageError: if `uri` cannot be written.
    """
    captions = phantom_captions()
    tokenizer = PromptTokenizer(vocabulary_of(captions.values()), context=PHANTOM_CLIP.context)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BiomedClip(replace(PHANTOM_CLIP, vocab_size=len(tokenizer.vocabulary)))
        _initialise(model)
        features = _learn_captions(model, tokenizer, captions)
        pictures = _Pictures(views)
        _learn_pictures(model, pictures, features, rng, steps=steps, batch_size=batch_size, rate=learning_rate)
    save_biomedclip(uri, model, tokenizer)


def phantom_captions() -> dict[str, list[str]]:
    """Sentences for each key of `MEANT`, including the default prompts of segmentation by text."""
    captions = {
        name: [template.format(phrase) for template in TEMPLATES for phrase in phrases]
        for name, phrases in PHRASES.items()
    }
    for prompt in LUNG_PROMPTS:
        sides = {"left", "right"} & set(prompt.split())
        captions[sides.pop() if len(sides) == 1 else "both"].append(prompt)
    return captions


def vocabulary_of(captions: Iterable[list[str]]) -> list[str]:
    """Vocabulary of the captions: the special tokens, then one token for each word and punctuation mark."""
    words = {word for sentences in captions for one in sentences for word in re.findall(r"\w+|[^\w\s]", one)}
    return [*SPECIAL_TOKENS, *sorted(words)]


def mask_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine, 0 to 1, of two bool masks of one shape as vectors of 0 and 1; it is 1 if both are empty, 0 if one is."""
    areas = float(np.count_nonzero(a)), float(np.count_nonzero(b))
    if not all(areas):
        return float(areas[0] == areas[1])
    return np.count_nonzero(a & b) / (areas[0] * areas[1]) ** 0.5


def _initialise(model: BiomedClip) -> None:
    """Initialise weights by the width of their layer, since 0.02 is too small for narrow layers, and positions by sines and cosines."""
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
    """Fit the features of sentences to each other, and return them, float32 [n, projection], by their meaning."""
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
    """Fit the features of pictures to those of sentences: each phantom's pictures to one sentence of each meaning."""
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
        # M2IB's noise has unit variance: tokens of the same variance are neither too large nor too small for it
        size = (tokens.square().mean(-1) - 1).square().mean()
        return _distance(cosines, targets.view_as(cosines)) + 0.1 * size

    vision = [*model.vision.parameters(), *model.vision_projection.parameters()]
    descend(vision, loss_of_batch, steps=steps, rate=rate)


def _one_of_each(features: dict[str, torch.Tensor], rng: np.random.Generator) -> list[torch.Tensor]:
    return [several[rng.integers(len(several))] for several in features.values()]


def _distance(cosines: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 10 * functional.mse_loss(cosines, targets)


class _Pictures:
    """Phantoms resized to the square input of CLIP, with and without their lungs.

    Attributes:
        pixels: the phantoms, uint8 [N, S, S].
        bare: the phantoms with lungs replaced by the tissue around them, uint8 [N, S, S].
        lungs: maps of the lungs, uint8 [N, S, S], with the values 0, `RIGHT` and `LEFT`.
    """

    def __init__(self, views: list[Phantom]) -> None:
        size = PHANTOM_CLIP.image_size
        self.pixels = np.stack([resize_image(view.pixels, size, "bicubic") for view in views])
        masks = [resize_image(view.lung_mask.astype(np.uint8) * 255, size) > 127 for view in views]
        self.lungs = np.stack([lung_sides(mask) for mask in masks])
        self.bare = np.stack([_without_lungs(*pair) for pair in zip(self.pixels, self.lungs > 0, strict=True)])

    def of(self, index: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
        """Draw the pictures of one phantom, each with the lung that `VISIBLE_IN_PICTURES` names.

        Yields:
            A picture float32 [S, S] in 0 to 255, the parameters of the bottleneck float32 [T, d], and the target cosines
            with the sentences of each meaning float32 [4].
        """
        lungs = self.lungs[index]
        meant = [np.isin(lungs, sides) for sides in MEANT.values()]
        for name in VISIBLE_IN_PICTURES:
            kept = _part_of(lungs > 0, rng) if name == "some" else np.isin(lungs, MEANT[name])
            target = np.array([mask_cosine(kept, mask) for mask in meant], np.float32)
            contrast, brightness = rng.uniform(0.9, 1.1), rng.uniform(-10, 10)
            if rng.random() < NOISE_FRACTION:
                shown, openness = self.pixels[index], _openness(lungs > 0, kept, rng)
            else:
                shown, openness = np.where(kept, self.pixels[index], self.bare[index]), _all_open()
            pixels = np.clip(contrast * (shown.astype(np.float32) - 128) + 128 + brightness, 0, 255)
            yield pixels, openness, target


def _openness(lung: np.ndarray, kept: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw parameters of a bottleneck that blocks the lung that is not kept, as M2IB might find them.

    Args:
        lung: mask of the lungs, bool [S, S].
        kept: mask of the part that stays visible, bool [S, S].
        rng: source of the openness outside the lungs, and of the differences between tokens and their elements.

    Returns:
        float32 [T, d], whose sigmoids are the fractions of each element that pass.
    """
    lung_fraction, kept_fraction = _covered_fractions(lung), _covered_fractions(kept)
    is_kept = kept_fraction > 0.5 * np.maximum(lung_fraction, 0.1)
    level = np.where(is_kept, rng.uniform(2, 6), rng.uniform(-6, -3))
    level[lung_fraction < 0.1] = rng.uniform(-6, 5)
    level = np.concatenate([[rng.uniform(-6, 5)], level])  # [CLS] attends to every patch
    spread = np.where(np.concatenate([[False], is_kept]), 1, 2)
    level += spread * rng.random() * rng.standard_normal(len(level))
    elements = rng.standard_normal((len(level), PHANTOM_CLIP.vision_hidden), np.float32)
    return (level[:, None] + (spread * rng.random())[:, None] * elements).astype(np.float32)


def _all_open() -> np.ndarray:
    return np.full((1 + GRID**2, PHANTOM_CLIP.vision_hidden), 9, np.float32)


def _covered_fractions(mask: np.ndarray) -> np.ndarray:
    """Fraction of each patch, row by row, that a mask bool [S, S] covers; float64 [T - 1] in 0 to 1."""
    patch = PHANTOM_CLIP.patch_size
    return np.asarray(mask.reshape(GRID, patch, GRID, patch).mean((1, 3)).ravel())


def _part_of(lung: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a part of the lungs, bool [S, S]: the patches where a random field is lowest, scattered or in a few large pieces."""
    patch = PHANTOM_CLIP.patch_size
    cells = int(rng.integers(2, 8)) if rng.random() < 0.5 else GRID
    field = torch.from_numpy(rng.standard_normal((1, 1, cells, cells)))
    field = functional.interpolate(field, size=(GRID, GRID), mode="bicubic", align_corners=True)
    order = np.argsort(field.numpy().ravel())
    area = np.cumsum(_covered_fractions(lung)[order])
    is_kept = np.zeros(GRID * GRID, bool)
    is_kept[order[area <= rng.uniform(0.1, 0.9) * area[-1]]] = True
    return lung & is_kept.reshape(GRID, GRID).repeat(patch, 0).repeat(patch, 1)


def _without_lungs(pixels: np.ndarray, lung: np.ndarray) -> np.ndarray:
    """Fill the lungs of a radiograph uint8 [S, S] with the mean of the pixels around them, weighted by distance."""
    from scipy import ndimage

    filled = ndimage.binary_dilation(lung, iterations=5)
    known = (~filled).astype(np.float32)
    weight = ndimage.gaussian_filter(known, 14) + 1e-3
    around = ndimage.gaussian_filter(pixels * known, 14) + 1e-3 * pixels[~filled].mean()
    cover = ndimage.gaussian_filter(filled.astype(np.float32), 2)
    return np.clip(pixels * (1 - cover) + around / weight * cover, 0, 255).astype(np.uint8)
