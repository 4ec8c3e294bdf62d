"""Convert image files that show a mask to masks."""

import numpy as np
from numpy.typing import NDArray

from cxr_ray.imaging.decode import DecodedImage


def mask_of_picture(picture: DecodedImage) -> NDArray[np.bool_]:
    """Convert the picture of a mask to a mask bool [H, W] that is True where the picture is not black.

    Any value above 0 counts, because some masks are drawn with 1 and some with 255. In a JPEG a pixel must be
    brighter than a quarter of the maximum, because compression leaves grey noise next to edges.

    Raises:
        ValueError: if the picture has no pixels.
    """
    if picture.pixels is None:
        raise ValueError(f"a picture without pixels ({picture.error_kind}) cannot be a mask")
    limit = int(picture.pixels.max()) // 4 if picture.format == "jpeg" else 0
    return picture.pixels > limit
