"""Images to train on: each one must be readable, or the training stops and names it."""

from collections.abc import Iterator, Sequence

import numpy as np

from cxr_ray.errors import DatasetError
from cxr_ray.imaging.decode import DecodedImage
from cxr_ray.imaging.load import LoadedImage, load_images
from cxr_ray.imaging.resize import resize_image


def load_resized(
    image_ids: Sequence[str], uris: Sequence[str], image_size: int, interpolation: str = "bilinear"
) -> tuple[np.ndarray, list[str]]:
    """Load images and squash each to a square.

    Args:
        image_ids: names of the images for errors.
        uris: where each image is.
        image_size: pixels a side of the square.
        interpolation: see `resize_image`.

    Returns:
        Pixels uint8 [N, image_size, image_size], and the sha256 of each file's content.

    Raises:
        DatasetError: naming the first image that cannot be read.
    """
    resized, contents = np.empty((len(uris), image_size, image_size), np.uint8), list[str]()
    for square, (pixels, image) in zip(resized, _readable(image_ids, uris, image_size), strict=True):
        square[:] = resize_image(pixels, image_size, interpolation)
        contents.append(str(image.content_sha256))
    return resized, contents


def load_mask_pictures(image_ids: Sequence[str], uris: Sequence[str]) -> Iterator[DecodedImage]:
    """Load pictures of masks, one after the other, for all at once might not fit into memory; all have pixels.

    Raises:
        DatasetError: naming the first image whose mask cannot be read.
    """
    return (image.decoded for _, image in _readable(image_ids, uris, what="its mask: "))


def unreadable(image_id: str, reason: object, what: str = "") -> DatasetError:
    """The error for an image, or for the part of it that `what` names, that cannot be read."""
    return DatasetError(f"cannot train on {image_id}: {what}{reason}; fix the file, or drop the image from the dataset")


def _readable(
    image_ids: Sequence[str], uris: Sequence[str], *wanted_sizes: int, what: str = ""
) -> Iterator[tuple[np.ndarray, LoadedImage]]:
    images = load_images(uris, wanted_sizes=wanted_sizes)
    for image_id, image in zip(image_ids, images, strict=True):
        if image.decoded.pixels is None:
            raise unreadable(image_id, image.decoded.error, what)
        yield image.decoded.pixels, image
