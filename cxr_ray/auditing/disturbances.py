"""Disturb radiographs as scanners, archives and exports do: rotation, noise, JPEG, brightness, resolution, inversion."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from cxr_ray.imaging.resize import resize_image


def rotated(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate images uint8 [N, S, S] about their centre; corners become black, as those of a tilted film."""
    return _each(pixels, lambda image: np.asarray(_picture(image).rotate(degrees, Image.Resampling.BILINEAR)))


def noisy(pixels: np.ndarray, deviation: float, *, seed: int) -> np.ndarray:
    """Add normal noise of a standard deviation in grey levels to images uint8 [N, S, S]."""
    generator = np.random.default_rng(seed)
    return _each(pixels, lambda image: _grey(image + generator.normal(0, deviation, image.shape)))


def compressed(pixels: np.ndarray, quality: float) -> np.ndarray:
    """Compress images uint8 [N, S, S] as JPEG of a quality from 1 to 95."""
    return _each(pixels, lambda image: _through_jpeg(image, int(quality)))


def brightened(pixels: np.ndarray, levels: float) -> np.ndarray:
    """Add grey levels to images uint8 [N, S, S]."""
    return _each(pixels, lambda image: _grey(image.astype(np.float32) + levels))


def coarsened(pixels: np.ndarray, fraction: float) -> np.ndarray:
    """Reduce images uint8 [N, S, S] to a fraction of their size and enlarge them again."""
    side = pixels.shape[1]
    return _each(pixels, lambda image: resize_image(resize_image(image, max(1, round(fraction * side))), side))


def inverted(pixels: np.ndarray) -> np.ndarray:
    """Swap black and white of images uint8 [N, S, S], as a MONOCHROME1 file does whose reader ignores that."""
    return np.uint8(255) - pixels


def _each(pixels: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.stack([change(image) for image in pixels])


def _grey(values: np.ndarray) -> np.ndarray:
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    _picture(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
