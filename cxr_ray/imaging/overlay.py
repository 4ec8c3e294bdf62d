"""Outlines of masks on a radiograph."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

OUTLINE_COLOUR = "#ffa600"  # amber: neither bone, nor lung, nor what colour-blind eyes confuse


def overlay_png(radiograph: np.ndarray, mask: np.ndarray) -> bytes:
    """A PNG of a radiograph uint8 [h, w] with the outline of `mask`, bool [H, W] of the same proportions."""
    file = io.BytesIO()
    pixels = draw_contours(radiograph, [(mask, OUTLINE_COLOUR, 7)], longest_side=max(radiograph.shape))
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def draw_contours(
    radiograph: np.ndarray | None, contours: Sequence[tuple[np.ndarray, str, int]], *, longest_side: int
) -> np.ndarray:
    """A radiograph with outlines, the later ones above the earlier.

    Args:
        radiograph: uint8 of any height and width; None for plain grey.
        contours: masks bool [H, W] of one size, their colours, and the thickness of each in thirds of a pixel, odd.
        longest_side: of the picture.

    Returns:
        uint8 [h, w, 3] in the proportions of the masks.
    """
    shape = contours[0][0].shape
    height, width = (max(1, round(side * longest_side / max(shape))) for side in shape)
    grey = Image.new("L", (1, 1), 90) if radiograph is None else Image.fromarray(radiograph)
    canvas = np.array(grey.resize((width, height), Image.Resampling.LANCZOS).convert("RGB"), dtype=np.float32)
    for mask, colour, thickness in contours:
        ink = _contour(mask, width, height, thickness)[..., None]
        canvas += ink * (np.array(ImageColor.getrgb(colour)) - canvas)
    return np.rint(canvas).astype(np.uint8)


def _contour(mask: np.ndarray, width: int, height: int, thickness: int) -> np.ndarray:
    """Ink in [0, 1], float32 [height, width], along the rim of `mask`; `thickness` in thirds of a pixel, odd."""
    from scipy.ndimage import maximum_filter, minimum_filter

    fine = Image.fromarray(mask.astype(np.uint8) * 255).resize((3 * width, 3 * height), Image.Resampling.BILINEAR)
    inside = np.asarray(fine) > 127
    rim = maximum_filter(inside, thickness) & ~minimum_filter(inside, thickness)
    return np.asarray(rim.reshape(height, 3, width, 3).mean(axis=(1, 3), dtype=np.float32))
