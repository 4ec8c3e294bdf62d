"""Masks to compare: a row's and the picture of the true one, at one size."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_ray.errors import StorageError
from cxr_ray.evaluation.segmentation_metrics import Mask
from cxr_ray.imaging.decode import DecodedImage
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.load import load_images
from cxr_ray.imaging.mask_rle import decode_mask


def masks_of(row: dict[str, Any], truth: NDArray[np.uint8]) -> tuple[Mask, Mask]:
    """Predicted and true mask of one image.

    Args:
        row: of `join_masks`, with status `ok` or `empty`.
        truth: uint8, the picture of the true mask, black outside; of any height and width.

    Returns:
        Both bool [H, W], of the size of the predicted mask; the true one takes the nearest pixel there, as masks
        have no shades.

    Raises:
        StorageError: if the row's run lengths are not those of a mask of its size.
    """
    height, width = row["mask_height"] or truth.shape[0], row["mask_width"] or truth.shape[1]
    try:
        empty = row["status"] == "empty"
        predicted = np.zeros((height, width), bool) if empty else decode_mask(row["mask_counts"], height, width)
    except StorageError as error:
        raise StorageError(f"image {row['image_id']!r}: {error}") from error
    nearest = Image.fromarray(truth).resize((width, height), Image.Resampling.NEAREST)
    return predicted, np.asarray(nearest) > 0


def load_pictures(uris: list[str], wanted_size: int | None = None) -> Iterator[DecodedImage]:
    """Pictures at these URIs, one each; see `decode_image`."""
    images = load_images(uris, [None] * len(uris), limits=DecodeLimits(), wanted_size=wanted_size)
    return (image.decoded for image in images)
