"""A segmenter's probabilities made into masks at the size of each image, and into figures of the lungs. No Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.imaging.lungs import centroid_xy, lung_pair, rim_length
from cxr_ray.imaging.resize import resize_to

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Lung:
    """Figures of one lung of a mask.

    Attributes:
        area_fraction: part of the image that the lung covers, 0 to 1.
        centroid_xy: mean position of the lung's pixels in pixels of the image, x before y.
        uncertainty: entropy in nats of the lung's half of the image over the length of the lung's rim.
    """

    area_fraction: float
    centroid_xy: tuple[float, float]
    uncertainty: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LungFigures:
    """Figures of the mask of one image; see `LungSegmentation`."""

    uncertainty: float
    symmetry: float | None
    right: Lung | None
    left: Lung | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LungSegmentation:
    """The lung mask of one image.

    Attributes:
        mask: bool [H, W] at the size of the image as displayed.
        area_fraction: part of the image that the mask covers, 0 to 1; 0 where nothing was found.
        uncertainty: sum of the pixels' entropy in nats over the length of the mask's rim in pixels, both at the
            network's resolution: a sure segmenter has but a thin seam of doubt.
        symmetry: area of the smaller lung over that of the larger, 0 to 1; None for an empty mask.
        right: figures of the patient's right lung, which is on the image's left; None where there is none.
        left: figures of the patient's left lung; None where there is none.
        boxes_xyxy: float32 [n, 4] around each connected piece, the largest first: x0, y0, x1, y1 in pixels of the image.
        entropy: float32 [S, S] in nats, 0 to log 2, of each pixel at the network's resolution.
    """

    mask: np.ndarray
    area_fraction: float
    uncertainty: float
    symmetry: float | None
    right: Lung | None
    left: Lung | None
    boxes_xyxy: np.ndarray
    entropy: np.ndarray


def segmentations_of(
    probability: "torch.Tensor",
    sizes: Sequence[tuple[int, int]],
    *,
    foreground: float = 0.5,
    components: int = 2,
    min_area: float = 0.005,
) -> list[LungSegmentation | None]:
    """Masks and figures of K images.

    Args:
        probability: float32 [K, S, S] of the foreground, on any device, of whole images squashed to a square.
        sizes: height and width of each image as displayed.
        foreground: probability above which a pixel belongs to the mask, between 0 and 1.
        components: largest connected pieces that are kept, 1 to 255.
        min_area: part of the image that a piece must cover, 0 to 1.

    Returns:
        One for each image, in order; None where a probability is not a finite number.

    Raises:
        ValueError: if `components` or `min_area` is out of its range.
    """
    import torch

    from cxr_ray.models.coarse_mask import largest_components, to_image_scale

    finite = probability.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        probability = torch.where(finite.view(-1, 1, 1), probability, 0.0)
    is_foreground = probability > foreground
    kept = largest_components(is_foreground, keep=components, min_area_share=min_area)
    cleaned = torch.where(is_foreground & ~kept.masks, 0.0, probability)
    shades = (cleaned * 255).round().byte().cpu().numpy()
    entropy = pixel_entropy(probability).cpu().numpy()
    found: list[LungSegmentation | None] = []
    for i, ((height, width), is_finite) in enumerate(zip(sizes, finite.tolist(), strict=True)):
        if not is_finite:
            found.append(None)
            continue
        mask = resize_to(shades[i], height, width) > 255 * foreground
        figures = lung_figures(kept.components[i], entropy[i], height, width)
        found.append(
            LungSegmentation(
                mask=mask,
                area_fraction=float(np.count_nonzero(mask)) / mask.size,
                uncertainty=figures.uncertainty,
                symmetry=figures.symmetry,
                right=figures.right,
                left=figures.left,
                boxes_xyxy=to_image_scale(kept.boxes_xyxy[i], shades.shape[1], height, width),
                entropy=entropy[i],
            )
        )
    return found


def pixel_entropy(probability: "torch.Tensor") -> "torch.Tensor":
    """Entropy in nats, 0 to log 2, of the foreground's probability; float of the same shape."""
    import torch

    return torch.special.entr(probability) + torch.special.entr(1 - probability)


def lung_figures(components: np.ndarray, entropy: np.ndarray, height: int, width: int) -> LungFigures:
    """Uncertainty of a whole mask, and the figures of each of its lungs.

    Args:
        components: uint8 [S, S], the pieces of the mask, the largest first.
        entropy: float32 [S, S] in nats.
        height: of the image; centroids are in its pixels.
        width: of the image.
    """
    pair = lung_pair(components)
    centroids = {side: centroid_xy(region) for side, region in (("right", pair.right), ("left", pair.left))}
    both = [centroid for centroid in centroids.values() if centroid]
    middle = round(np.mean([x for x, _ in both]) * entropy.shape[1]) if len(both) == 2 else None
    lungs: dict[str, Lung | None] = {"right": None, "left": None}
    for side, region, half in (
        ("right", pair.right, slice(None, middle)),
        ("left", pair.left, slice(middle, None)),
    ):
        if centroid := centroids[side]:
            lungs[side] = Lung(
                area_fraction=float(region.mean()),
                centroid_xy=(centroid[0] * width, centroid[1] * height),
                uncertainty=_doubt(entropy[:, half], region),
            )
    return LungFigures(
        uncertainty=_doubt(entropy, components > 0), symmetry=pair.symmetry, right=lungs["right"], left=lungs["left"]
    )


def _doubt(entropy: np.ndarray, region: np.ndarray) -> float:
    """Entropy in nats over the pixels of the region's rim; over one where there is no region."""
    return float(entropy.sum(dtype=np.float64)) / max(1, rim_length(region))
