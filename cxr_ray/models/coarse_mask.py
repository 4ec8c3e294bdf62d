"""Saliency maps to coarse masks, and these to prompts for SAM; thresholds are computed in batches on the device."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

ThresholdMethod = Literal["otsu", "kmeans", "fixed"]

BINS = 256
KMEANS_STEPS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseMasks:
    """Components that were kept of B saliency maps; an image may have none.

    Attributes:
        masks: bool [B, S, S], on the device of the saliency maps: the union of each image's components.
        components: uint8 [B, S, S]: 0 outside all components, i in the i-th largest component of the image.
        boxes_xyxy: for each image float32 [n, 4], the boxes of its n components, the largest component first:
            x0, y0, x1, y1 of the pixels' outer edges, 0 to S.
    """

    masks: torch.Tensor
    components: np.ndarray
    boxes_xyxy: list[np.ndarray]


def coarse_masks(
    saliency: torch.Tensor,
    *,
    method: ThresholdMethod = "otsu",
    fixed_threshold: float = 0.3,
    keep: int = 2,
    min_area_fraction: float = 0.005,
) -> CoarseMasks:
    """Masks of the largest components in which saliency is high.

    Args:
        saliency: float32 [B, S, S] in 0 to 1, on any device.
        method: method that finds the threshold; `kmeans` and `otsu` search for the same split of each map.
        fixed_threshold: threshold of the method `fixed`, above 0 and at most 1.
        keep: maximum number of components kept per image, 1 to 255, the largest by area; lungs need 2.
        min_area_fraction: fraction of the map that a component must cover, 0 to 1; the default is about one of the
            14 x 14 patches of a ViT.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if saliency.ndim != 3:
        raise ValueError(f"saliency must be [B, S, S]; got {list(saliency.shape)}")
    if method == "otsu":
        thresholds = otsu_threshold(saliency)
    elif method == "kmeans":
        thresholds = kmeans_threshold(saliency)
    elif method == "fixed":
        if not 0 < fixed_threshold <= 1:
            raise ValueError(f"fixed_threshold must be above 0 and at most 1; got {fixed_threshold}")
        thresholds = saliency.new_full((len(saliency),), fixed_threshold)
    else:
        raise ValueError(f"method must be otsu, kmeans or fixed; got {method!r}")
    return largest_components(saliency >= thresholds.view(-1, 1, 1), keep=keep, min_area_fraction=min_area_fraction)


def otsu_threshold(maps: torch.Tensor) -> torch.Tensor:
    """Otsu's threshold of each map; pixels at or above it are foreground.

    The threshold splits a histogram of 256 bins where the variance between the two classes is maximal (Otsu 1979,
    equation 18). Sums are whole numbers, so every device gives the same result. Where empty bins lie at the split, the
    threshold is their middle.

    Args:
        maps: float [B, ...] in 0 to 1, at most 2**22 values per map.

    Returns:
        float32 [B]; infinity where all values lie in one bin, so that nothing is foreground.
    """
    flat = maps.flatten(1)
    bins = (flat * BINS).long().clamp(0, BINS - 1)
    rows = torch.arange(len(flat), device=flat.device).unsqueeze(1) * BINS
    counts = torch.bincount((bins + rows).flatten(), minlength=len(flat) * BINS).view(-1, BINS)
    centres = 2 * torch.arange(BINS, device=flat.device) + 1  # in units of half a bin
    below, moment = counts.cumsum(1), (counts * centres).cumsum(1)
    total = flat.shape[1]
    spread = (total * moment - below * moment[:, -1:]).double() ** 2
    pairs = below * (total - below)
    between = torch.where(pairs > 0, spread / pairs.clamp(min=1), -1.0)
    best, split = between.max(1, keepdim=True)
    at_split = below.gather(1, split)
    first, following = (below < at_split).sum(1), (below <= at_split).sum(1)
    thresholds = (first + 1 + following).float() / (2 * BINS)
    return torch.where(best.squeeze(1) < 0, torch.inf, thresholds)


def kmeans_threshold(maps: torch.Tensor) -> torch.Tensor:
    """Threshold of each map by k-means with two clusters; pixels at or above it are nearer to the upper mean.

    Lloyd's iterations run for all maps at once until no threshold changes, at most 100 times. They start at Otsu's
    split, because from the minimum and the maximum some maps end in a local optimum.

    Args:
        maps: float [B, ...] in 0 to 1.

    Returns:
        float32 [B]; infinity where all values are equal, so that nothing is foreground.
    """
    flat = maps.flatten(1).double()
    low, high = flat.aminmax(dim=1)
    otsu = otsu_threshold(maps).double()
    total, thresholds = flat.sum(1), torch.where(otsu.isfinite(), otsu, (low + high) / 2)
    for _ in range(KMEANS_STEPS):
        upper = flat >= thresholds.unsqueeze(1)
        count, amount = upper.sum(1), (flat * upper).sum(1)
        upper_mean = amount / count.clamp(min=1)
        lower_mean = (total - amount) / (flat.shape[1] - count).clamp(min=1)
        before, thresholds = thresholds, (upper_mean + lower_mean) / 2
        if torch.equal(before, thresholds):
            break
    return torch.where(low < high, thresholds, torch.inf).float()


def largest_components(masks: torch.Tensor, *, keep: int = 2, min_area_fraction: float = 0.0) -> CoarseMasks:
    """The largest 8-connected components of masks; of two equal ones, the one whose pixels begin first ranks first.

    Args:
        masks: bool [B, S, S], on any device.
        keep: maximum number of components kept per image, 1 to 255.
        min_area_fraction: fraction of the mask's frame that a component must cover, 0 to 1.

    Raises:
        ValueError: if an argument is out of its range.
    """
    from scipy import ndimage

    if not 1 <= keep <= 255:
        raise ValueError(f"keep must be 1 to 255; got {keep}")
    if not 0 <= min_area_fraction <= 1:
        raise ValueError(f"min_area_fraction must be 0 to 1; got {min_area_fraction}")
    neighbours = np.zeros((3, 3, 3), bool)
    neighbours[1] = True  # neighbours lie in one image: the planes of the batch are not connected
    labels, count = ndimage.label(masks.cpu().numpy(), neighbours)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    edges = np.array([[(axis.start, axis.stop) for axis in box] for box in ndimage.find_objects(labels)], np.int64)
    edges = edges.reshape(-1, 3, 2)
    order = np.lexsort((-areas, edges[:, 0, 0]))
    image = edges[order, 0, 0]
    rank = np.arange(count) - np.searchsorted(image, image)
    kept = (rank < keep) & (areas[order] >= min_area_fraction * masks.shape[1] * masks.shape[2])
    order, image, rank = order[kept], image[kept], rank[kept]
    new_label = np.zeros(count + 1, np.uint8)
    new_label[order + 1] = rank + 1
    components = new_label[labels]
    boxes = edges[order][:, [2, 1, 2, 1], [0, 0, 1, 1]].astype(np.float32)
    return CoarseMasks(
        masks=torch.from_numpy(components > 0).to(masks.device),
        components=components,
        boxes_xyxy=[boxes[image == index] for index in range(len(masks))],
    )


def to_image_scale(xy: np.ndarray, map_size: int, height: int, width: int) -> np.ndarray:
    """Scale boxes or points from a square map to the image whose full frame was squashed to that map.

    Coordinates start at the outer edge of the first pixel in both, so nothing shifts by half a pixel and the corners of
    the frame stay its corners.

    Args:
        xy: float [..., 4] x0, y0, x1, y1, or [..., 2] x, y; 0 to `map_size`.
        map_size: height and width of the map in pixels.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        float32 of the same shape, clipped to the image: x 0 to `width`, y 0 to `height`.
    """
    frame = np.resize(np.array([width, height], np.float64), xy.shape[-1])
    return np.clip(np.asarray(xy, np.float64) * frame / map_size, 0, frame).astype(np.float32)


def draw_points(
    components: np.ndarray, image_id: str, *, count: int = 10, background_count: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points uniformly from each component of one image; an image gets the same points on every worker.

    Args:
        components: [S, S], a plane of `CoarseMasks.components`, or a bool mask, which counts as one component.
        image_id: id of the image, which seeds the draw.
        count: points per component, at centres of different pixels if the component has `count` pixels or more.
        background_count: points outside all components, the same for each component; none if no pixel lies outside.

    Returns:
        Coordinates float32 [n, count + background, 2] of n components, x before y, from the outer edge of the map's
        first pixel; labels int32 [n, count + background], 1 on the component and 0 outside. An empty mask gives n = 0.
    """
    generator = np.random.default_rng(list(hashlib.sha256(image_id.encode()).digest()))
    background = _drawn(components == 0, background_count, generator)
    drawn = [_drawn(components == label, count, generator) for label in range(1, int(components.max(initial=0)) + 1)]
    points = np.zeros((len(drawn), count + len(background), 2), np.float32)
    for row, foreground in zip(points, drawn, strict=True):
        row[:] = np.concatenate([foreground, background])
    labels = np.zeros(points.shape[:2], np.int32)
    labels[:, :count] = 1
    return points, labels


def _drawn(mask: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Centres, float32 [count, 2], of random pixels of a mask bool [S, S]; an empty mask gives [0, 2]."""
    pixels = np.argwhere(mask)[:, ::-1]
    if not len(pixels):
        return np.zeros((0, 2), np.float32)
    chosen = generator.choice(len(pixels), count, replace=len(pixels) < count)
    return (pixels[chosen] + 0.5).astype(np.float32)
