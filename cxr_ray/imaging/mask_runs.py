"""Masks as run lengths, and the run lengths of a mask that a network gave at a smaller scale, without its pixels at full size."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from cxr_ray.imaging.resize import resize_to

_BITS = 22
"""Bits after the point of the weights with which Pillow resizes images of 8 bits."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MaskRuns:
    """A mask bool [H, W] as run lengths.

    Attributes:
        height: H in pixels, at least 1.
        width: W in pixels, at least 1.
        lengths: int64 [R], lengths of the runs, column by column from the top left; the first run is background and may be 0,
            the others are 1 or more, and their sum is H * W.
    """

    height: int
    width: int
    lengths: np.ndarray = field(repr=False)

    @property
    def area_fraction(self) -> float:
        """Fraction of the image that the mask covers, 0 to 1."""
        return int(self.lengths[1::2].sum()) / (self.height * self.width)

    @property
    def counts(self) -> str:
        """The run lengths in COCO's compressed form, as `encode_mask` writes them."""
        from pycocotools import mask as coco

        size = [self.height, self.width]
        counts: bytes = coco.frPyObjects({"size": size, "counts": self.lengths.tolist()}, *size)["counts"]
        return counts.decode("ascii")

    def to_mask(self) -> np.ndarray:
        """Return the mask, bool [H, W]."""
        columns = np.repeat(np.arange(len(self.lengths)) % 2 == 1, self.lengths).reshape(self.width, self.height)
        return transposed(columns)


def runs_of(mask: np.ndarray) -> MaskRuns:
    """Return the run lengths of a mask bool [H, W]."""
    columns = transposed(mask).ravel()
    changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    height, width = mask.shape
    return _runs(height, width, np.concatenate([[0], changes]) if columns[0] else changes)


def resized_runs(shades: np.ndarray, height: int, width: int, threshold: float) -> MaskRuns:
    """Return the run lengths of `resize_to(shades, height, width) > threshold`, which is bilinear.

    Within a column of the resized image, the values between two rows of `shades` lie between theirs and go up or down
    without turning back. So a run can begin or end only between two rows that lie on both sides of the threshold, and
    only there the values are computed, as Pillow computes them.

    Args:
        shades: uint8 [h, w].
        height: height of the mask in pixels.
        width: width of the mask in pixels.
        threshold: number of 0 to 255; pixels above it belong to the mask.
    """
    rows = shades.shape[0]
    columns = transposed(resize_to(shades, rows, width))
    is_above = (columns > threshold).ravel()
    changed = np.flatnonzero(is_above[1:] != is_above[:-1]) + 1
    is_noise = len(changed) > columns.size // 8
    if height < rows or is_noise:  # a pixel is the mean of several rows, or most values matter
        return runs_of(resize_to(shades, height, width) > threshold)
    column, row = np.divmod(changed, rows)
    first, weights = _rows_between(rows, height)
    upper, lower = (columns.ravel()[places].astype(np.int64)[:, None] for places in (changed - 1, changed))
    between = weights[np.maximum(row - 1, 0)]
    values = (upper * between[..., 0] + lower * between[..., 1] + (1 << _BITS - 1)) >> _BITS
    is_as_before = ((values > threshold) == is_above[changed - 1, None]) & (between[..., 0] >= 0)
    below_upper = first[np.maximum(row - 1, 0)] + is_as_before.sum(1)
    places = column * height + np.where(row == 0, 0, below_upper)
    if is_above[0]:
        places = np.concatenate([[0], places])
    places, times = np.unique(places, return_counts=True)
    return _runs(height, width, places[(times % 2 == 1) & (places < height * width)])


def transposed(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 or bool [H, W] as [W, H] with its own memory, by Pillow, which does it block by block and so faster."""
    turned = np.array(Image.fromarray(np.ascontiguousarray(pixels).view(np.uint8)).transpose(Image.Transpose.TRANSPOSE))
    return turned.view(pixels.dtype)


def _runs(height: int, width: int, changes: np.ndarray) -> MaskRuns:
    """Return the runs of a mask whose pixels differ from the one before at the ascending `changes`; before the first is background."""
    lengths = np.diff(np.concatenate([[0], changes, [height * width]]))
    return MaskRuns(height=height, width=width, lengths=lengths)


def _rows_between(rows: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of an image enlarged to `height` that lie between two rows of the original, as Pillow's bilinear resize does it.

    Returns:
        For each of the `rows` - 1 pairs the first of its rows of the enlarged image, int64 [P], and the weights of the
        upper and the lower row of the pair in units of 2**-22, int64 [P, N, 2]; -1 fills pairs of fewer than N rows.
    """
    scale = rows / height
    centres = (np.arange(height) + 0.5) * scale
    upper = (centres - 0.5).astype(np.int64) - (centres < 0.5)
    first = np.searchsorted(upper, np.arange(rows))
    most = int(np.diff(first).max(initial=1))
    weights = np.full((max(rows - 1, 1), most, 2), -1, np.int64)
    inside = (upper >= 0) & (upper < rows - 1)
    pair = upper[inside]
    parts = np.stack([1 - np.abs(pair + 0.5 - centres[inside]), 1 - np.abs(pair + 1.5 - centres[inside])], -1)
    shares = parts.clip(0) / parts.clip(0).sum(-1, keepdims=True)
    weights[pair, np.flatnonzero(inside) - first[pair]] = (0.5 + shares * (1 << _BITS)).astype(np.int64)
    return first, weights
