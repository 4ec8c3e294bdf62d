"""Stored DICOM samples to the grey values that a viewer would first show (PS3.4, N.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from cxr_ray.imaging.limits import ErrorKind, ImageRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SMALLEST_WIDTH = {"LINEAR": 1.0, "LINEAR_EXACT": 0.0, "SIGMOID": 0.0}
_FAR = np.array([-1e15, 1e15])  # beyond any window: here a window gives the ends of its output


def to_display(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Map stored samples to uint8, dark = 0.

    Grey: modality LUT or rescale; then the VOI LUT or the first window, whose output range becomes 0..255, or
    where the file has neither, the range of the pixels; MONOCHROME1 is inverted last. Padding is left out of
    the range and ends as 0. Without a window, an image of one value gives zeros. Colour: luma as Pillow has
    it, no window.

    Args:
        stored: [H, W] or [H, W, 3], integers of at most 16 bits.
        dataset: the data set that the samples come from.

    Returns:
        uint8 [H, W].
    """
    if stored.ndim == 3:
        return _luma(stored, white=2 ** int(dataset.BitsStored) - 1)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _palette_luma(stored, dataset)
    # A display value depends on the stored value alone: evaluate each value once, not each pixel.
    offsets = stored.astype(np.int32)
    lowest = int(offsets.min())
    offsets -= lowest
    is_present = np.bincount(offsets.ravel()) > 0
    table = display_table(lowest + np.arange(is_present.size), is_present, dataset)
    return table[offsets]


def display_table(stored_values: np.ndarray, is_present: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Display value of each stored value.

    Args:
        stored_values: int [N], ascending.
        is_present: bool [N], whether any pixel has the value.
        dataset: whose look-up tables apply.

    Returns:
        uint8 [N].
    """
    from pydicom.pixels.processing import apply_modality_lut

    values = apply_modality_lut(stored_values, dataset)
    if not np.isfinite(values).all():
        raise ImageRefused(ErrorKind.UNREADABLE, "rescale slope or intercept is no finite number")
    is_padding = _is_padding(stored_values, dataset)
    brightness = _voi_brightness(values, dataset)
    if brightness is None:
        visible = values[is_present & ~is_padding]
        if visible.size == 0 or visible.min() == visible.max():
            return np.zeros(stored_values.shape, np.uint8)
        brightness = _unit(values, visible.min(), visible.max())
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        brightness = 1 - brightness
    brightness[is_padding] = 0
    shown: np.ndarray = np.rint(brightness * 255).astype(np.uint8)
    return shown


def _voi_brightness(values: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Brightness 0..1 by the VOI LUT, which is preferred, or the first window; None without a usable one."""
    from pydicom.pixels.processing import apply_voi, apply_windowing

    tables = dataset.get("VOILUTSequence")
    if tables and "LUTDescriptor" in tables[0] and "LUTData" in tables[0]:
        entries, first, _ = tables[0].LUTDescriptor
        domain = np.arange(first, first + (entries or 2**16))
        outputs = apply_voi(domain, dataset)
        inside = np.clip(np.rint(values), domain[0], domain[-1]).astype(np.int64)
        return _unit(outputs[inside - first], outputs.min(), outputs.max())
    if _has_window(dataset):
        with np.errstate(over="ignore"):  # the exponential of a sigmoid, far from its centre
            low, high = apply_windowing(_FAR, dataset)
            return _unit(apply_windowing(values, dataset), low, high)
    return None


def _has_window(dataset: Dataset) -> bool:
    """Whether the first window is one that the standard defines (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = _first_number(dataset.get("WindowCenter")), _first_number(dataset.get("WindowWidth"))
    smallest = _SMALLEST_WIDTH.get(str(dataset.get("VOILUTFunction") or "LINEAR").upper())
    if smallest is None or not (math.isfinite(centre) and math.isfinite(width)):
        return False
    return width >= 1 if smallest else width > 0


def _first_number(value: Any) -> float:
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    return math.nan if value is None else float(value)


def _is_padding(stored_values: np.ndarray, dataset: Dataset) -> np.ndarray:
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored_values.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    first, last = sorted((int(value), int(value if limit is None else limit)))
    return (stored_values >= first) & (stored_values <= last)


def _unit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale so that `low` becomes 0 and `high`, which may be the smaller, 1; zeros where they are equal."""
    low, high = float(low), float(high)
    if low == high:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0, 1)


def _palette_luma(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    if "SegmentedRedPaletteColorLookupTableData" in dataset:  # a few bytes may expand without bound
        raise ImageRefused(ErrorKind.UNSUPPORTED, "segmented palettes are not supported")
    colours = apply_color_lut(stored, dataset)[..., :3]
    return _luma(colours, white=np.iinfo(colours.dtype).max)


def _luma(colours: np.ndarray, *, white: int) -> np.ndarray:
    rgb = np.rint(np.clip(colours, 0, white) * (255 / white)).astype(np.uint8)
    return np.array(Image.fromarray(rgb).convert("L"))
