"""Decoding of images and masks, once and at training resolution, into the cluster's object store."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import ray
from PIL import Image

from cxr_ray.errors import StorageError
from cxr_ray.imaging.mask_picture import mask_of_picture
from cxr_ray.imaging.mask_rle import decode_mask
from cxr_ray.training.cached_feed import IMAGES_PER_PART
from cxr_ray.training.object_store import load_in_parts
from cxr_ray.training.readable_images import load_mask_pictures, load_resized, unreadable


def cache_masked_images(rows: pa.Table, *, image_size: int) -> "list[ray.ObjectRef]":
    """Decode images and their masks on all cores of the cluster.

    Args:
        rows: table of `true_masks` or `teacher_masks`.
        image_size: height and width, in pixels, to which images and masks are resized.

    Returns:
        References to the parts of a `PixelCache`, uint8 [n, 2, image_size, image_size], see `load_masked_images`.

    Raises:
        DatasetError: if an image or a mask cannot be read; the error names the first such image.
    """
    starts = range(0, rows.num_rows, IMAGES_PER_PART)
    return load_in_parts(_load_part, [(rows.slice(start, IMAGES_PER_PART), image_size) for start in starts])[0]


def _load_part(rows: pa.Table, image_size: int) -> tuple[np.ndarray, None]:
    """Load masked images as `load_in_parts` expects it: the array, and no note about it."""
    return load_masked_images(rows, image_size), None


def load_masked_images(rows: pa.Table, image_size: int) -> np.ndarray:
    """Decode images and their masks in this process.

    Args:
        rows: table of `true_masks` or `teacher_masks`.
        image_size: height and width, in pixels, to which images and masks are resized.

    Returns:
        uint8 [n, 2, image_size, image_size]. Plane 0 is the image; plane 1 is the fraction of each pixel that the mask
        covers, from 0 for no part of the pixel to 255 for the whole pixel.

    Raises:
        DatasetError: if an image or a mask cannot be read; the error names the first such image.
    """
    planes = np.empty((rows.num_rows, 2, image_size, image_size), np.uint8)
    ids = rows["image_id"].to_pylist()
    planes[:, 0], _ = load_resized(ids, rows["uri"].to_pylist(), image_size)
    for mask_plane, mask in zip(planes[:, 1], _masks(rows, ids), strict=True):
        averaged = Image.fromarray(mask).resize((image_size, image_size), Image.Resampling.BOX)
        mask_plane[:] = np.asarray(averaged)
    return planes


def _masks(rows: pa.Table, ids: list[str]) -> Iterator[np.ndarray]:
    """Yield the mask of each row as uint8 [h, w] of 0 and 255; masks may differ in size."""
    if rows["mask_uri"].null_count == 0:
        for picture in load_mask_pictures(ids, rows["mask_uri"].to_pylist()):
            yield mask_of_picture(picture).astype(np.uint8) * 255
        return
    columns = (rows[name].to_pylist() for name in ("mask_counts", "mask_height", "mask_width"))
    for image_id, *stored in zip(ids, *columns, strict=True):
        try:
            yield decode_mask(*stored).astype(np.uint8) * 255
        except StorageError as error:
            raise unreadable(image_id, error, "its mask: ") from error
