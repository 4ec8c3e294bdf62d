"""Views of phantoms from which small models learn, their training loop, and their evaluation on unseen views.

`phantom_clip` and `phantom_sam` train the models in less than a minute, for machines without published weights.
The models know nothing of real radiographs: a result with them shows that the pipeline works, not its accuracy.
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
"""Height and width in pixels of a phantom before it is cropped."""
TRAINING_PATIENTS, HELD_OUT_PATIENTS = 1 << 40, 1 << 41
"""First seeds of the phantoms for training and for evaluation; seeds of phantom archives are far below."""
SEED_DISTANCE = 1 << 20
"""Distance of the first phantoms of two consecutive seeds."""
RIGHT, LEFT = 1, 2
"""Values of the patient's right lung, which is on the left of the image, and of the left lung in a map of the lungs."""
PHANTOM_LAYER, PHANTOM_BETA = 0, 0.01
"""Values of `layer` and `beta` in `TextSettings` for a BiomedCLIP of `train_phantom_clip`."""
WARMUP = 0.1
"""Fraction of the training in which the learning rate rises."""
SEGMENTED_AT_ONCE = 8
"""Number of views that are segmented together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomScores:
    """Mean Dice coefficients over views, 0 to 1, between predicted and true lung masks.

    Attributes:
        coarse_dsc: coefficient of the coarse masks, which are thresholded saliency.
        dsc: coefficient of the masks that SAM decodes from the coarse masks.
    """

    coarse_dsc: float
    dsc: float


def phantom_views(count: int, *, seed: int, held_out: bool = False) -> list[Phantom]:
    """Draw phantoms of all labels in turn, cropped at the margins to various proportions.

    Args:
        count: number of phantoms.
        seed: seed of the patients, at least 0; another seed gives other patients.
        held_out: True draws patients that training never uses.
    """
    first = (HELD_OUT_PATIENTS if held_out else TRAINING_PATIENTS) + seed * SEED_DISTANCE
    return [_view(PHANTOM_LABELS[i % len(PHANTOM_LABELS)], first + i) for i in range(count)]


def lung_sides(mask: np.ndarray) -> np.ndarray:
    """Map of the lungs, uint8 [H, W] with 0, `RIGHT` and `LEFT`, from the two largest 8-connected pieces of a mask bool [H, W]."""
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
    """Minimise a loss with AdamW and clipped gradients; the learning rate rises to `rate` and then falls to 0.

    Args:
        parameters: parameters that are changed in place.
        loss_of_batch: function that draws the next batch and returns its loss, a scalar.
        steps: number of steps, each on one batch.
        rate: peak of the learning rate.
    """
    weights = list(parameters)
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.01, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * cosine_fraction(step / steps, WARMUP)
        optimizer.zero_grad()
        loss_of_batch().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()


def evaluate_phantom_models(models: TextModels, settings: TextSettings, views: Sequence[Phantom]) -> PhantomScores:
    """Segment views by text on the CPU, and print and return the Dice coefficients.

    Args:
        models: URIs of the weights of BiomedCLIP and SAM.
        settings: settings of the prompts, the bottleneck, the thresholds and SAM.
        views: phantoms, which contain their true masks.
    """
    found = segment_views(models, settings, views)
    dsc, coarse_dsc = (
        float(np.mean([mask_agreement(mask, view.lung_mask).dsc for mask, view in zip(masks, views, strict=True)]))
        for masks in ([one.mask for one in found], coarse_masks_of(settings, found))
    )
    print(f"{len(views)} phantoms: DSC {coarse_dsc:.3f} (coarse masks), {dsc:.3f} (masks of SAM)", flush=True)
    return PhantomScores(coarse_dsc=coarse_dsc, dsc=dsc)


def segment_views(models: TextModels, settings: TextSettings, views: Sequence[Phantom]) -> list[Segmentation]:
    """Segment views by text on the CPU, in batches; one segmentation per view, in order."""
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
    """Coarse masks from which SAM was prompted, bool [H, W] at the size of each image."""
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
    """Draw a phantom and crop random margins, so that few views are square."""
    phantom, rng = draw_phantom(label, seed=seed, size=VIEW_SIZE), np.random.default_rng([seed, 3])
    height, width = (round(VIEW_SIZE * rng.uniform(smallest, 1)) for smallest in (0.88, 0.8))
    top, left = rng.integers(VIEW_SIZE - height + 1), rng.integers(VIEW_SIZE - width + 1)
    window = slice(top, top + height), slice(left, left + width)
    return replace(phantom, pixels=phantom.pixels[window], lung_mask=phantom.lung_mask[window])
