"""A segmenter's probabilities to masks at the size of each image, and to measurements of the lungs; Ray is not used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.imaging.lungs import centroid_xy, lung_pair, rim_length
from cxr_ray.imaging.mask_runs import MaskRuns, resized_runs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Lung:
    """Measurements of one lung of a mask.

    Attributes:
        area_fraction: fraction of the image that the lung covers, 0 to 1.
        centroid_xy: mean position of the lung's pixels, x before y, in pixels of the image.
        uncertainty: summed entropy in nats of the lung's half of the image, divided by the length of the lung's rim in
            pixels, both at the network's resolution.
    """

    area_fraction: float
    centroid_xy: tuple[float, float]
    uncertainty: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LungFigures:
    """Measurements of the lung mask of one image.

    Attributes:
        uncertainty: summed entropy in nats of all pixels, divided by the length of the mask's rim in pixels.
        symmetry: area of the smaller lung divided by that of the larger, 0 to 1; None for an empty mask.
        right: measurements of the patient's right lung, which is on the image's left; None if there is none.
        left: measurements of the patient's left lung; None if there is none.
    """

    uncertainty: float
    symmetry: float | None
    right: Lung | None
    left: Lung | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LungSegmentation:
    """The lung mask of one image.

    Attributes:
        runs: run lengths of the mask at the size of the image as displayed.
        uncertainty: summed entropy in nats of all pixels, divided by the length of the mask's rim in pixels, both at
            the network's resolution; a sure segmenter is uncertain only along a thin rim.
        symmetry: area of the smaller lung divided by that of the larger, 0 to 1; None for an empty mask.
        right: measurements of the patient's right lung, which is on the image's left; None if there is none.
        left: measurements of the patient's left lung; None if there is none.
        boxes_xyxy: float32 [n, 4], the box of each connected component, the largest component first: x0, y0, x1, y1 in
            pixels of the image.
        entropy: float32 [S, S], entropy of each pixel in nats, 0 to log 2, at the network's resolution.
    """

    runs: MaskRuns
    uncertainty: float
    symmetry: float | None
    right: Lung | None
    left: Lung | None
    boxes_xyxy: np.ndarray
    entropy: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The mask, bool [H, W] at the size of the image as displayed, made anew from its run lengths."""
        return self.runs.to_mask()

    @property
    def area_fraction(self) -> float:
        """Fraction of the image that the mask covers, 0 to 1; 0 for an empty mask."""
        return self.runs.area_fraction


@dataclass(frozen=True, kw_only=True, slots=True)
class LungMap:
    """The lung mask of one image at the network's resolution, with the measurements that are made there.

    Attributes:
        shades: uint8 [S, S], 255 times the probability of the foreground, without the components that are left out; a pixel of
            the mask is one whose value, after the map is resized to the image, is above 255 times the threshold.
        figures: measurements of the lungs.
        boxes_xyxy: float32 [n, 4], as in `LungSegmentation`.
        entropy: float32 [S, S], as in `LungSegmentation`.
    """

    shades: np.ndarray
    figures: LungFigures
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
    """Lung masks and measurements of K images.

    Args:
        probability: float32 [K, S, S], probability of the foreground for whole images squashed to a square, on any
            device.
        sizes: height and width of each image as displayed, in pixels.
        foreground: probability above which a pixel belongs to the mask, between 0 and 1.
        components: maximum number of connected components that are kept, 1 to 255, the largest by area.
        min_area: fraction of the image that a component must cover, 0 to 1.

    Returns:
        One segmentation per image, in order; None where a probability is not a finite number.

    Raises:
        ValueError: if `components` or `min_area` is out of its range.
    """
    maps = lung_maps_of(probability, sizes, foreground=foreground, components=components, min_area=min_area)
    return [
        None
        if found is None
        else LungSegmentation(
            runs=resized_runs(found.shades, height, width, 255 * foreground),
            uncertainty=found.figures.uncertainty,
            symmetry=found.figures.symmetry,
            right=found.figures.right,
            left=found.figures.left,
            boxes_xyxy=found.boxes_xyxy,
            entropy=found.entropy,
        )
        for found, (height, width) in zip(maps, sizes, strict=True)
    ]


def lung_maps_of(
    probability: "torch.Tensor",
    sizes: Sequence[tuple[int, int]],
    *,
    foreground: float,
    components: int,
    min_area: float,
) -> list[LungMap | None]:
    """Clean up and measure the maps of K images at the network's resolution; arguments and errors are those of `segmentations_of`."""
    import torch

    from cxr_ray.models.coarse_mask import largest_components, to_image_scale

    finite = probability.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        probability = torch.where(finite.view(-1, 1, 1), probability, 0.0)
    is_foreground = probability > foreground
    kept = largest_components(is_foreground, keep=components, min_area_fraction=min_area)
    cleaned = torch.where(is_foreground & ~kept.masks, 0.0, probability)
    shades = (cleaned * 255).round().byte().cpu().numpy()
    entropy = pixel_entropy(probability).cpu().numpy()
    return [
        LungMap(
            shades=shades[i],
            figures=lung_figures(kept.components[i], entropy[i], height, width),
            boxes_xyxy=to_image_scale(kept.boxes_xyxy[i], shades.shape[1], height, width),
            entropy=entropy[i],
        )
        if is_finite
        else None
        for i, ((height, width), is_finite) in enumerate(zip(sizes, finite.tolist(), strict=True))
    ]


def pixel_entropy(probability: "torch.Tensor") -> "torch.Tensor":
    """Entropy of each pixel in nats, 0 to log 2, in the shape of `probability`, that of the foreground in 0 to 1."""
    import torch

    return torch.special.entr(probability) + torch.special.entr(1 - probability)


def lung_figures(components: np.ndarray, entropy: np.ndarray, height: int, width: int) -> LungFigures:
    """Uncertainty of a whole mask, and the measurements of each of its lungs.

    Args:
        components: uint8 [S, S], 0 outside the mask, i in its i-th largest component.
        entropy: float32 [S, S], entropy of each pixel in nats.
        height: height of the image in pixels, in which centroids are given.
        width: width of the image in pixels, in which centroids are given.
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
    """Sum of `entropy` in nats divided by the length of the region's rim in pixels, or by 1 if the region is empty."""
    return float(entropy.sum(dtype=np.float64)) / max(1, rim_length(region))
