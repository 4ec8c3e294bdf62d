"""Masks to compare: a row's and the picture of the true one, at one size."""

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
    """Predicted and true mask of one image.

    Args:
        row: of `join_masks`, with status `ok` or `empty`.
        truth: the picture of the true mask, see `mask_of_picture`; it has pixels, of any height and width.

    Returns:
        Both bool [H, W], of the size of the predicted mask; the true one takes the nearest pixel there, as masks
        have no shades.

    Raises:
        StorageError: if the row's run lengths are not those of a mask of its size.
    """
    true = mask_of_picture(truth)
    height, width = row["mask_height"] or true.shape[0], row["mask_width"] or true.shape[1]
    try:
        empty = row["status"] == "empty"
        predicted = np.zeros((height, width), bool) if empty else decode_mask(row["mask_counts"], height, width)
    except StorageError as error:
        raise StorageError(f"image {row['image_id']!r}: {error}") from error
    nearest = Image.fromarray(true).resize((width, height), Image.Resampling.NEAREST)
    return predicted, np.asarray(nearest)


def load_pictures(uris: list[str], *wanted_sizes: int) -> Iterator[DecodedImage]:
    """Pictures at these URIs, one each; see `load_images`."""
    return (image.decoded for image in load_images(uris, wanted_sizes=wanted_sizes))
