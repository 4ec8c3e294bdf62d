"""Images and their masks decoded once, at training resolution, in the cluster's object store."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import ray
from PIL import Image

from cxr_ray.errors import DatasetError, StorageError
from cxr_ray.imaging.decode import DecodedImage, DecodeLimits
from cxr_ray.imaging.load import load_images
from cxr_ray.imaging.mask_picture import mask_of_picture
from cxr_ray.imaging.mask_rle import decode_mask
from cxr_ray.imaging.resize import resize_image
from cxr_ray.training.cached_feed import IMAGES_PER_PART, kept_here


def cache_masked_images(rows: pa.Table, *, image_size: int) -> "list[ray.ObjectRef]":
    """Decode images and masks of rows of `mask_source` on all cores.

    Returns:
        References to the parts of a `PixelCache`, uint8 [n, 2, S, S]: the image; the share of the mask, 255 for whole.

    Raises:
        DatasetError: naming the first image or mask that cannot be read.
    """
    parts = [rows.slice(start, IMAGES_PER_PART) for start in range(0, rows.num_rows, IMAGES_PER_PART)]
    loading = [_load_part.remote(part, image_size) for part in parts]
    kept = []
    while loading:
        planes, problem = loading.pop(0)
        if message := ray.get(problem):
            raise DatasetError(message)
        kept.append(kept_here(planes))
    return kept


@ray.remote(num_cpus=1, num_returns=2)
def _load_part(rows: pa.Table, image_size: int) -> tuple[np.ndarray, str | None]:
    try:
        return load_masked_images(rows, image_size), None
    except DatasetError as error:
        return np.empty(0, np.uint8), str(error)


def load_masked_images(rows: pa.Table, image_size: int) -> np.ndarray:
    """Planes uint8 [n, 2, S, S] of rows, see `cache_masked_images`.

    Raises:
        DatasetError: likewise.
    """
    planes = np.empty((rows.num_rows, 2, image_size, image_size), np.uint8)
    ids = rows["image_id"].to_pylist()
    for position, image in enumerate(_pictures(rows["uri"].to_pylist(), ids, "image", image_size)):
        assert image.pixels is not None  # noqa: S101 - for the type checker
        planes[position, 0] = resize_image(image.pixels, image_size)
    for position, mask in enumerate(_masks(rows, ids)):
        planes[position, 1] = np.asarray(
            Image.fromarray(mask).resize(
                (image_size, image_size), Image.Resampling.BOX
            )  # a pixel's share, nothing else
        )
    return planes


def _masks(rows: pa.Table, ids: list[str]) -> Iterator[np.ndarray]:
    """Masks uint8 [h, w] of 0 and 255, each of its own size."""
    if rows["mask_uri"].null_count == 0:
        pictures = _pictures(rows["mask_uri"].to_pylist(), ids, "mask")
        yield from (mask_of_picture(picture).astype(np.uint8) * 255 for picture in pictures)
        return
    columns = (rows[name].to_pylist() for name in ("mask_counts", "mask_height", "mask_width"))
    for image_id, *stored in zip(ids, *columns, strict=True):
        try:
            yield decode_mask(*stored).astype(np.uint8) * 255
        except StorageError as error:
            raise DatasetError(f"cannot train on {image_id}: its mask: {error}; segment it again") from error


def _pictures(uris: list[str], ids: list[str], what: str, *wanted_sizes: int) -> Iterator[DecodedImage]:
    """What is at these URIs, one after the other: all at once they might not fit. All have pixels."""
    images = load_images(uris, [None] * len(uris), limits=DecodeLimits(), wanted_sizes=wanted_sizes)
    for image_id, image in zip(ids, images, strict=True):
        if image.decoded.pixels is None:
            raise DatasetError(f"cannot train on {image_id}: its {what}: {image.decoded.error}; mend or drop it")
        yield image.decoded
