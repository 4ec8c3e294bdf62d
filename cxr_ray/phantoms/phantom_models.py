"""Small models for chest phantoms: the views they learn from, and how well they segment views that they never saw.

`phantom_clip` and `phantom_sam` train them in about a minute each, for places where no published weights can be had.
They know nothing of real radiographs: a number that is measured with them says that the chain works, not how well.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cxr_ray.config.segmentation import TextModels, TextSettings
from cxr_ray.imaging.resize import resize_image
from cxr_ray.metrics.segmentation import mask_agreement
from cxr_ray.models.biomedclip_checkpoint import load_biomedclip, load_tokenizer
from cxr_ray.models.coarse_mask import coarse_masks
from cxr_ray.models.sam_weights import load_sam
from cxr_ray.models.zero_shot_segmenter import Segmentation, ZeroShotSegmenter
from cxr_ray.phantoms.phantom import PHANTOM_LABELS, Phantom, draw_phantom
from cxr_ray.training.learning_rate import cosine_fraction

VIEW_SIZE = 256
"""Pixels a side of a phantom before it is cropped."""
LEARNED_PATIENTS, HELD_PATIENTS = 1 << 40, 1 << 41
"""First seeds of two series of phantoms; those of phantom archives lie far below."""
SEEDS_APART = 1 << 20
RIGHT, LEFT = 1, 2
"""In a map of the lungs: the patient's right lung, which is on the left of the image, and the left one."""
PHANTOM_LAYER, PHANTOM_BETA = 0, 0.01
"""What `TextSettings` needs for a BiomedCLIP of `train_phantom_clip`."""
WARMUP = 0.1
SEGMENTED_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomScores:
    """Agreement with the true lung masks, mean Dice coefficients over views.

    Attributes:
        coarse_dsc: of the thresholded saliency.
        dsc: of the masks that SAM makes of it.
    """

    coarse_dsc: float
    dsc: float


def phantom_views(count: int, *, seed: int, held_out: bool = False) -> list[Phantom]:
    """Phantoms of all labels in turn, cropped at the margins to various proportions.

    Args:
        count: how many.
        seed: another one names other patients.
        held_out: draw from the series that training never sees.
    """
    first = (HELD_PATIENTS if held_out else LEARNED_PATIENTS) + seed * SEEDS_APART
    return [_view(PHANTOM_LABELS[i % len(PHANTOM_LABELS)], first + i) for i in range(count)]


def lung_sides(mask: np.ndarray) -> np.ndarray:
    """Uint8 [H, W]: 0, `RIGHT` or `LEFT`, of the two largest 8-connected pieces of a lung mask bool [H, W]."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    lungs = np.argsort(-areas)[:2] + 1
    across = [np.nonzero(labels == lung)[1].mean() for lung in lungs]
    side_of = np.zeros(count + 1, np.uint8)
    side_of[lungs[np.argsort(across)]] = (RIGHT, LEFT)[: len(lungs)]
    return side_of[labels]


def descend(
    parameters: Iterable[torch.nn.Parameter], loss_of_batch: Callable[[], torch.Tensor], *, steps: int, rate: float
) -> None:
    """AdamW with clipped gradients for some steps, its rate rising to `rate` and then falling to 0.

    Args:
        parameters: changed in place.
        loss_of_batch: draws the next batch and returns its loss.
        steps: how many batches.
        rate: the peak of the learning rate.
    """
    weights = list(parameters)
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.01)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * cosine_fraction(step / steps, WARMUP)
        optimizer.zero_grad()
        loss_of_batch().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()


def evaluate_phantom_models(models: TextModels, settings: TextSettings, views: Sequence[Phantom]) -> PhantomScores:
    """Segment views by text on the CPU, print how well that went, and return it.

    Args:
        models: where their weights lie.
        settings: prompts, bottleneck, thresholds and what SAM is shown.
        views: with their true masks.
    """
    found = segment_views(models, settings, views)
    dsc, coarse_dsc = (
        float(np.mean([mask_agreement(mask, view.lung_mask).dsc for mask, view in zip(masks, views, strict=True)]))
        for masks in ([one.mask for one in found], coarse_masks_of(settings, found))
    )
    print(f"{len(views)} phantoms: DSC {coarse_dsc:.3f} of the coarse masks, {dsc:.3f} of SAM's", flush=True)
    return PhantomScores(coarse_dsc=coarse_dsc, dsc=dsc)


def segment_views(models: TextModels, settings: TextSettings, views: Sequence[Phantom]) -> list[Segmentation]:
    """What the models find in views, on the CPU."""
    clip = load_biomedclip(models.clip_uri)
    sam = load_sam(models.sam_uri, device="cpu")
    segmenter = ZeroShotSegmenter(clip, load_tokenizer(models.clip_uri, clip.config), sam, settings)
    found = []
    for start in range(0, len(views), SEGMENTED_AT_ONCE):
        batch = views[start : start + SEGMENTED_AT_ONCE]
        images = [view.pixels for view in batch]
        frames = np.stack([resize_image(image, segmenter.clip_size, "bicubic") for image in images])
        sizes, ids = [image.shape for image in images], [view.patient_id for view in batch]
        found += segmenter.segment(frames, images, sizes, ids)
    return found


def coarse_masks_of(settings: TextSettings, found: Sequence[Segmentation]) -> list[np.ndarray]:
    """The masks that SAM was prompted from, bool [H, W] at the sizes of the images."""
    coarse = coarse_masks(
        torch.from_numpy(np.stack([one.saliency for one in found])),
        method=settings.threshold,
        fixed_threshold=settings.fixed_threshold,
        keep=settings.components,
        min_area_fraction=settings.min_area,
    )
    return [
        torch.nn.functional.interpolate(mask[None, None].float(), one.mask.shape)[0, 0].bool().numpy()
        for mask, one in zip(coarse.masks, found, strict=True)
    ]


def _view(label: str, seed: int) -> Phantom:
    """A phantom without some of its margins, so that few are square."""
    phantom, rng = draw_phantom(label, seed=seed, size=VIEW_SIZE), np.random.default_rng([seed, 3])
    height, width = (round(VIEW_SIZE * rng.uniform(least, 1)) for least in (0.88, 0.8))
    top, left = rng.integers(VIEW_SIZE - height + 1), rng.integers(VIEW_SIZE - width + 1)
    window = slice(top, top + height), slice(left, left + width)
    return replace(phantom, pixels=phantom.pixels[window], lung_mask=phantom.lung_mask[window])
