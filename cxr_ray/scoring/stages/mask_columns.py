"""The columns of a result row that describe a mask."""

from typing import Any

import numpy as np

from cxr_ray.imaging.mask_rle import encode_mask


def mask_columns(mask: np.ndarray) -> dict[str, Any]:
    """Describe a mask by its status (`ok` or `empty`), its size in pixels, its RLE and its area.

    Args:
        mask: bool [H, W] at the original size of the image.

    Returns:
        The values of the columns by name; `area_fraction` is the fraction of true pixels, in 0 to 1.
    """
    height, width = mask.shape
    area = float(np.count_nonzero(mask)) / mask.size
    return {
        "status": "ok" if area > 0 else "empty",
        "mask_height": height,
        "mask_width": width,
        "mask_counts": encode_mask(mask),
        "area_fraction": area,
    }
