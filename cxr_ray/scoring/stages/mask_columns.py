"""The columns of a result row that describe a mask."""

from typing import Any

from cxr_ray.imaging.mask_runs import MaskRuns


def mask_columns(runs: MaskRuns) -> dict[str, Any]:
    """Describe a mask by its status (`ok` or `empty`), its size in pixels, its RLE and its area.

    Args:
        runs: run lengths of the mask at the original size of the image.

    Returns:
        The values of the columns by name; `area_fraction` is the fraction of true pixels, in 0 to 1.
    """
    area = runs.area_fraction
    return {
        "status": "ok" if area > 0 else "empty",
        "mask_height": runs.height,
        "mask_width": runs.width,
        "mask_counts": runs.counts,
        "area_fraction": area,
    }
