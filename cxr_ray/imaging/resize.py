"""Resize a decoded image to the size that a model takes."""

import numpy as np
from PIL import Image

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resize_image(pixels: np.ndarray, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """Resize an image uint8 [H, W] to a square uint8 [size, size] without keeping its proportions; see `resize_to`."""
    return resize_to(pixels, size, size, interpolation)


def resize_to(pixels: np.ndarray, height: int, width: int, interpolation: str = "bilinear") -> np.ndarray:
    """Resize an image; the kernel grows with the reduction, which avoids aliasing.

    Args:
        pixels: uint8 [H, W].
        height: height of the result in pixels, at least 1.
        width: width of the result in pixels, at least 1.
        interpolation: one of `INTERPOLATIONS`.

    Returns:
        uint8 [height, width], equal to Pillow's `Image.resize`.

    Raises:
        ValueError: if the pixels are not uint8 [H, W], a size is below 1, or the interpolation is unknown.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"pixels must be uint8 [H, W]; got {pixels.dtype} {list(pixels.shape)}")
    if min(height, width) < 1:
        raise ValueError(f"size must be >= 1; got {min(height, width)}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}; got {interpolation!r}")
    return np.array(Image.fromarray(pixels).resize((width, height), INTERPOLATIONS[interpolation]))


def size_within(height: int, width: int, longest: int) -> tuple[int, int]:
    """Height and width in pixels, each at least 1, after an image is reduced to a longest side of at most `longest`."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
