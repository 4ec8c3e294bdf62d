"""Convert stored DICOM samples to the grey values that a viewer would first show (PS3.4, N.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from cxr_ray.imaging.limits import ErrorKind, ImageRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MIN_WIDTH = {"LINEAR": 1.0, "LINEAR_EXACT": 0.0, "SIGMOID": 0.0}
_FAR = np.array([-1e15, 1e15])
"""Values far outside any window, where a window function returns the two ends of its output range."""


def to_display(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Map stored samples to uint8, dark = 0.

    A grey image passes the modality LUT or rescale, then the VOI LUT or the first window, whose output range becomes
    0 to 255. If the file has neither a VOI LUT nor a window, the range of the pixels becomes 0 to 255, and an image
    of a single value becomes 0. MONOCHROME1 is inverted last. Padding does not count for the range and becomes 0.
    A colour image becomes luma as Pillow computes it, without a window.

    Args:
        stored: [H, W] or [H, W, 3], integers of at most 16 bits.
        dataset: the data set that the samples come from.

    Returns:
        uint8 [H, W].

    Raises:
        ImageRefused: `unreadable` if the rescale is not finite, `unsupported` for a segmented palette.
    """
    if stored.ndim == 3:
        return _luma(stored, white=2 ** int(dataset.BitsStored) - 1)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _palette_luma(stored, dataset)
    # A display value depends only on the stored value, so each value is computed once instead of each pixel.
    offsets = stored.astype(np.int32)
    lowest = int(offsets.min())
    offsets -= lowest
    is_present = np.bincount(offsets.ravel()) > 0
    table = display_table(lowest + np.arange(is_present.size), is_present, dataset)
    return table[offsets]


def display_table(stored_values: np.ndarray, is_present: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Compute the display value of each stored value.

    Args:
        stored_values: int [N], ascending.
        is_present: bool [N], True for values that at least one pixel has.
        dataset: the data set whose look-up tables and window are applied.

    Returns:
        uint8 [N], low = dark.

    Raises:
        ImageRefused: `unreadable` if the rescale slope or intercept is not finite.
    """
    from pydicom.pixels.processing import apply_modality_lut

    values = apply_modality_lut(stored_values, dataset)
    if not np.isfinite(values).all():
        raise ImageRefused(ErrorKind.UNREADABLE, "rescale slope or intercept is not a finite number")
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
    """Brightness 0 to 1 by the VOI LUT if there is one, else by the first window; None if neither is usable."""
    from pydicom.pixels.processing import apply_voi, apply_windowing

    tables = dataset.get("VOILUTSequence")
    if tables and "LUTDescriptor" in tables[0] and "LUTData" in tables[0]:
        entries, first, _ = tables[0].LUTDescriptor
        domain = np.arange(first, first + (entries or 2**16))
        outputs = apply_voi(domain, dataset)
        inside = np.clip(np.rint(values), domain[0], domain[-1]).astype(np.int64)
        return _unit(outputs[inside - first], outputs.min(), outputs.max())
    if _has_window(dataset):
        with np.errstate(over="ignore"):  # far from its centre, the exponential of a sigmoid window overflows
            low, high = apply_windowing(_FAR, dataset)
            return _unit(apply_windowing(values, dataset), low, high)
    return None


def _has_window(dataset: Dataset) -> bool:
    """Whether the first window has a function and a width that the standard allows (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = _first_number(dataset.get("WindowCenter")), _first_number(dataset.get("WindowWidth"))
    min_width = _MIN_WIDTH.get(str(dataset.get("VOILUTFunction") or "LINEAR").upper())
    if min_width is None or not (math.isfinite(centre) and math.isfinite(width)):
        return False
    return width >= 1 if min_width else width > 0


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
    """Scale values so that `low` becomes 0 and `high`, which may be below `low`, becomes 1; zeros if both are equal."""
    low, high = float(low), float(high)
    if low == high:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0, 1)


def _palette_luma(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    if "SegmentedRedPaletteColorLookupTableData" in dataset:  # it may expand without bound
        raise ImageRefused(ErrorKind.UNSUPPORTED, "segmented palettes are not supported")
    colours = apply_color_lut(stored, dataset)[..., :3]
    return _luma(colours, white=np.iinfo(colours.dtype).max)


def _luma(colours: np.ndarray, *, white: int) -> np.ndarray:
    rgb = np.rint(np.clip(colours, 0, white) * (255 / white)).astype(np.uint8)
    return np.array(Image.fromarray(rgb).convert("L"))
