"""Collect what is wrong with an image as a list of flags."""

import numpy as np
from numpy.typing import NDArray

from cxr_ray.config.quality import QC_FLAGS
from cxr_ray.imaging.dicom import DicomTags
from cxr_ray.imaging.quality.burned_in_text import has_text
from cxr_ray.imaging.quality.exposure import clipped_ends
from cxr_ray.imaging.quality.orientation import OrientationModel, bundled_model

THRESHOLD = 0.7
"""Least probability of an orientation that is flagged."""
LATERAL_VIEWS = frozenset({"LL", "RL", "LAT", "LATERAL"})
"""Values of View Position (0018,5101) of lateral radiographs."""
CHEST_WORDS = ("CHEST", "THORAX", "TORAX", "LUNG", "RIB")
"""Parts of the values of Body Part Examined (0018,0015) that include the chest."""


def quality_flags(
    pixels: NDArray[np.uint8], tags: DicomTags | None = None, *, model: OrientationModel | None = None
) -> list[str]:
    """Flag what is wrong with one decoded image, in the order of `QC_FLAGS`.

    `inverted` and `rotated_90`, `rotated_180`, `rotated_270` (degrees clockwise from upright), `clipped_bright` and `clipped_dark`
    come from the pixels; `burned_in_text` from the pixels or Burned In Annotation; `lateral` and `not_chest` from the header of a
    DICOM file only, since the pixels of an image that is no frontal chest radiograph are not recognised, and may be flagged as
    rotated or inverted.

    Args:
        pixels: uint8 [H, W], low = dark, at the size that a model takes or larger.
        tags: tags of a DICOM file; None for other formats.
        model: weights of the orientation; None takes those of the package.
    """
    orientation = (model or bundled_model()).orientation_of(pixels)
    bright, dark = clipped_ends(pixels)
    found = {
        "inverted": orientation.inverted >= THRESHOLD,
        **{f"rotated_{90 * quarters}": bool(orientation.rotated[quarters] >= THRESHOLD) for quarters in (1, 2, 3)},
        "clipped_bright": bright,
        "clipped_dark": dark,
        "burned_in_text": has_text(pixels) or (tags is not None and tags.burned_in_annotation == "YES"),
        "lateral": tags is not None and (tags.view_position or "").upper() in LATERAL_VIEWS,
        "not_chest": tags is not None and _is_elsewhere(tags.body_part),
    }
    return [flag for flag in QC_FLAGS if found[flag]]


def _is_elsewhere(body_part: str | None) -> bool:
    """Whether a file names a body part and that part does not include the chest."""
    return bool(body_part) and not any(word in str(body_part).upper() for word in CHEST_WORDS)
