"""Read the predicted and the true mask of an image at one size, so that they can be compared."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from cxr_ray.errors import StorageError
from cxr_ray.imaging.decode import DecodedImage
from cxr_ray.imaging.load import load_images
from cxr_ray.imaging.mask_picture import mask_of_picture
from cxr_ray.imaging.mask_rle import decode_mask
from cxr_ray.metrics.segmentation import Mask


def masks_of(row: dict[str, Any], truth: DecodedImage) -> tuple[Mask, Mask]:
    """Decode the predicted and the true mask of one image.

    Args:
        row: a row from `join_masks` with status `ok` or `empty`.
        truth: decoded picture of the true mask, with pixels, of any height and width; see `mask_of_picture`.

    Returns:
        The predicted and the true mask, both bool [H, W] of the size of the predicted mask, to which the true mask is
        resized by nearest neighbour. An empty predicted mask without a size takes the size of the true mask.

    Raises:
        StorageError: if the run lengths in the row do not encode a mask of its height and width.
    """
    true = mask_of_picture(truth)
    height, width = row["mask_height"] or true.shape[0], row["mask_width"] or true.shape[1]
    try:
        empty = row["status"] == "empty"
        predicted = np.zeros((height, width), bool) if empty else decode_mask(row["mask_counts"], height, width)
    except StorageError as error:
        raise StorageError(f"image {row['image_id']!r}: {error}") from error
    return predicted, resized(true, height, width)


def resized(mask: Mask, height: int, width: int) -> Mask:
    """Resize a mask bool [H, W] to bool [height, width] by nearest neighbour."""
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def load_pictures(uris: list[str], *wanted_sizes: int) -> Iterator[DecodedImage]:
    """Fetch and decode the pictures at the URIs, one for each URI and in their order; see `load_images` for the sizes."""
    return (image.decoded for image in load_images(uris, wanted_sizes=wanted_sizes))
