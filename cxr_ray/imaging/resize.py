"""Resizing a decoded image to the square a model takes."""

import numpy as np
from PIL import Image

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resize_image(pixels: np.ndarray, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """Squash an image to a square; the kernel widens with the reduction, so that nothing aliases.

    Args:
        pixels: uint8 [H, W].
        size: height and width of the result, >= 1.
        interpolation: one of `INTERPOLATIONS`.

    Returns:
        uint8 [size, size], equal to Pillow's `Image.resize`.

    Raises:
        ValueError: another dtype or rank, a size below 1, an unknown interpolation.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"pixels must be uint8 [H, W]; got {pixels.dtype} {list(pixels.shape)}")
    if size < 1:
        raise ValueError(f"size must be >= 1; got {size}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}; got {interpolation!r}")
    return np.array(Image.fromarray(pixels).resize((size, size), INTERPOLATIONS[interpolation]))
