"""Convert stored DICOM samples to the grey values that a viewer would first show (PS3.4, N.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cxr_ray.imaging.display_attributes import DisplayAttributes, Window, read_display_attributes
from cxr_ray.imaging.grey_levels import WORDS, looked_up
from cxr_ray.imaging.limits import ErrorKind, ImageRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


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
    attributes = read_display_attributes(dataset)
    # A display value depends only on the stored value, so each value is computed once instead of each pixel.
    limits = np.iinfo(stored.dtype)
    values = np.arange(limits.min, limits.max + 1)
    table = np.zeros(WORDS, np.uint8)
    table[values & (values.size - 1)] = display_table(values, _deciding(stored, values, attributes), attributes)
    return looked_up(stored.view(f"u{stored.itemsize}"), table)


def _deciding(stored: np.ndarray, values: np.ndarray, attributes: DisplayAttributes) -> np.ndarray:
    """Tell which of all `values` of the type of `stored` decide about the range that is shown.

    Returns:
        bool [N]: the values that pixels have; where no others can matter, only the lowest and the highest of them.
    """
    if attributes.range_needs_all_values:
        counts = np.bincount((stored.astype(np.int32) - values[0]).ravel(), minlength=values.size)
        present: np.ndarray = counts > 0
        return present
    is_present = np.zeros(values.size, bool)
    if attributes.shows_range:
        is_present[[int(stored.min()) - values[0], int(stored.max()) - values[0]]] = True
    return is_present


def display_table(stored_values: np.ndarray, is_present: np.ndarray, attributes: DisplayAttributes) -> np.ndarray:
    """Compute the display value of each stored value.

    Args:
        stored_values: int [N], ascending.
        is_present: bool [N], True for the values of pixels that decide about the range that is shown.
        attributes: the look-up tables, the window and the padding to apply.

    Returns:
        uint8 [N], low = dark.
    """
    values = stored_values.astype(np.float64)
    if attributes.modality_table is not None:
        values = attributes.modality_table.map(values)
    elif attributes.rescale is not None:
        slope, intercept = attributes.rescale
        values = values * slope + intercept
    is_padding = np.zeros(stored_values.shape, bool)
    if attributes.padding is not None:
        first, last = attributes.padding
        is_padding = (stored_values >= first) & (stored_values <= last)
    if attributes.voi_table is not None:
        entries = attributes.voi_table.entries
        brightness = _unit(attributes.voi_table.map(values), entries.min(), entries.max())
    elif attributes.window is not None:
        brightness = _windowed(values, attributes.window)
    else:
        visible = values[is_present & ~is_padding]
        if visible.size == 0 or visible.min() == visible.max():
            return np.zeros(stored_values.shape, np.uint8)
        brightness = _unit(values, visible.min(), visible.max())
    if attributes.is_inverted:
        brightness = 1 - brightness
    brightness[is_padding] = 0
    shown: np.ndarray = np.rint(brightness * 255).astype(np.uint8)
    return shown


def _windowed(values: np.ndarray, window: Window) -> np.ndarray:
    """Brightness 0 to 1 by the functions of PS3.3, C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2."""
    centre, width = window.centre, window.width
    if window.function == "SIGMOID":
        with np.errstate(over="ignore"):  # far from the centre, the exponential overflows to the right result, 0
            sigmoid: np.ndarray = 1 / (1 + np.exp(-4 * (values - centre) / width))
        return sigmoid
    if window.function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    linear: np.ndarray = np.clip((values - centre) / width + 0.5, 0, 1)
    return linear


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
