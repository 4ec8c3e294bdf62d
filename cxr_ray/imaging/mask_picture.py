"""Pictures of masks to masks."""

import numpy as np
from numpy.typing import NDArray

from cxr_ray.imaging.decode import DecodedImage


def mask_of_picture(picture: DecodedImage) -> NDArray[np.bool_]:
    """Where the picture of a mask covers, bool [H, W]: all that is not black, since masks of 1 and of 255 both occur.

    Of a JPEG, what is above a quarter of its brightest: black rings beside an edge there.

    Raises:
        ValueError: if the picture has no pixels.
    """
    if picture.pixels is None:
        raise ValueError(f"a picture without pixels ({picture.error_kind}) is no mask")
    limit = int(picture.pixels.max()) // 4 if picture.format == "jpeg" else 0
    return picture.pixels > limit
