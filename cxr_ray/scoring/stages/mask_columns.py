"""The columns of a row that say what its mask is."""

from typing import Any

import numpy as np

from cxr_ray.imaging.mask_rle import encode_mask


def mask_columns(mask: np.ndarray) -> dict[str, Any]:
    """Status, size, run lengths and area of a mask bool [H, W] at the size of its image."""
    height, width = mask.shape
    area = float(np.count_nonzero(mask)) / mask.size
    return {
        "status": "ok" if area > 0 else "empty",
        "mask_height": height,
        "mask_width": width,
        "mask_counts": encode_mask(mask),
        "area_fraction": area,
    }
