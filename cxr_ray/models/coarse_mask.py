"""Saliency maps to coarse masks, and those to the prompts SAM takes: thresholds on the device, a whole batch at once."""

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
    """The kept components of B saliency maps; an image without any is a result like others.

    Attributes:
        masks: bool [B, S, S], on the device of the saliency: the union of each image's components.
        components: uint8 [B, S, S]: 0 outside, i in the i-th largest component of the image.
        boxes_xyxy: for each image float32 [n, 4], n from 0 to what was asked for, the largest component first:
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
    min_area_share: float = 0.005,
) -> CoarseMasks:
    """Where saliency is high, in few pieces.

    Args:
        saliency: float32 [B, S, S] in 0 to 1, on any device.
        method: what splits high from low; `kmeans` and `otsu` look for the same split of each map.
        fixed_threshold: of the method `fixed`, above 0.
        keep: components kept of each image, the largest by area; lungs want 2.
        min_area_share: share of the map that a component must cover; the default is one of a ViT's 14 x 14 patches.

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
    return largest_components(saliency >= thresholds.view(-1, 1, 1), keep=keep, min_area_share=min_area_share)


def otsu_threshold(maps: torch.Tensor) -> torch.Tensor:
    """Otsu's threshold of each map: pixels at or above it are foreground.

    The split of a histogram of 256 bins with the largest variance between the classes (Otsu 1979, equation 18), in
    whole numbers, so that it is the same on every device. Where empty bins lie at the split, their middle is taken.

    Args:
        maps: float [B, ...] in 0 to 1, at most 2**22 values a map.

    Returns:
        float32 [B]; infinity where all values share a bin, so that nothing is foreground.
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
    """Threshold of two-means of each map's values: pixels at or above it are nearer to the upper mean.

    Lloyd's iterations for all maps at once, until none changes. They start at Otsu's split: from the least and the
    greatest value, some maps end in a split that is best only among its neighbours.

    Args:
        maps: float [B, ...] in 0 to 1.

    Returns:
        float32 [B]; infinity where all values are the same.
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


def largest_components(masks: torch.Tensor, *, keep: int = 2, min_area_share: float = 0.0) -> CoarseMasks:
    """The largest 8-connected components of masks; of two of the same size, the one whose first pixel comes first.

    Args:
        masks: bool [B, S, S], on any device.
        keep: components kept of each image, 1 to 255.
        min_area_share: share of the map that a component must cover.

    Raises:
        ValueError: if an argument is out of its range.
    """
    from scipy import ndimage

    if not 1 <= keep <= 255:
        raise ValueError(f"keep must be 1 to 255; got {keep}")
    if not 0 <= min_area_share <= 1:
        raise ValueError(f"min_area_share must be 0 to 1; got {min_area_share}")
    neighbours = np.zeros((3, 3, 3), bool)
    neighbours[1] = True  # within an image: the batch is labelled as one volume whose planes do not touch
    labels, count = ndimage.label(masks.cpu().numpy(), neighbours)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    edges = np.array([[(axis.start, axis.stop) for axis in place] for place in ndimage.find_objects(labels)], np.int64)
    edges = edges.reshape(-1, 3, 2)
    order = np.lexsort((-areas, edges[:, 0, 0]))
    image = edges[order, 0, 0]
    rank = np.arange(count) - np.searchsorted(image, image)
    kept = (rank < keep) & (areas[order] >= min_area_share * masks.shape[1] * masks.shape[2])
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
    """Boxes or points of a square map, in pixels of the image whose full frame was squashed to it.

    Both are measured from the outer edge of the first pixel, so that no half pixels come in and the frame's corners
    stay its corners.

    Args:
        xy: float [..., 4] x0, y0, x1, y1, or [..., 2] x, y; 0 to `map_size`.
        map_size: pixels a side of the map.
        height: of the image.
        width: likewise.

    Returns:
        float32 of the same shape, clipped to the image: x 0 to `width`, y 0 to `height`.
    """
    frame = np.resize(np.array([width, height], np.float64), xy.shape[-1])
    return np.clip(np.asarray(xy, np.float64) * frame / map_size, 0, frame).astype(np.float32)


def draw_points(
    components: np.ndarray, image_id: str, *, count: int = 10, background_count: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points drawn uniformly from each component of one image, the same ones for an image wherever it is worked on.

    Args:
        components: [S, S], a plane of `CoarseMasks.components`; of a bool mask, the whole is one component.
        image_id: seeds the draw.
        count: points of each component, centres of different pixels where it has that many.
        background_count: points outside every component, the same for each; there are none where nothing is outside.

    Returns:
        Coordinates float32 [n, count + background, 2], x before y, from the outer edge of the map's first pixel;
        labels int32 [n, count + background], 1 on the component and 0 outside; n is 0 for an empty mask.
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
    """Centres float32 [count, 2] of pixels of a mask bool [S, S]; [0, 2] of an empty one."""
    pixels = np.argwhere(mask)[:, ::-1]
    if not len(pixels):
        return np.zeros((0, 2), np.float32)
    chosen = generator.choice(len(pixels), count, replace=len(pixels) < count)
    return (pixels[chosen] + 0.5).astype(np.float32)
