"""Loading of training images and masks; the first file that cannot be read stops the training with an error."""

from collections.abc import Iterator, Sequence

import numpy as np

from cxr_ray.errors import DatasetError
from cxr_ray.imaging.decode import DecodedImage
from cxr_ray.imaging.load import LoadedImage, load_images
from cxr_ray.imaging.resize import resize_image


def load_resized(
    image_ids: Sequence[str], uris: Sequence[str], image_size: int, interpolation: str = "bilinear"
) -> tuple[np.ndarray, list[str]]:
    """Load images and resize each to a square, whatever its aspect ratio.

    Args:
        image_ids: ids of the images, which errors name.
        uris: URI of the file of each image.
        image_size: height and width of the square in pixels.
        interpolation: name of the interpolation, see `resize_image`.

    Returns:
        Pixels uint8 [N, image_size, image_size], and the SHA-256 of each file's content.

    Raises:
        DatasetError: if an image cannot be read; the error names the first one.
    """
    resized, contents = np.empty((len(uris), image_size, image_size), np.uint8), list[str]()
    for square, (pixels, image) in zip(resized, _readable(image_ids, uris, image_size), strict=True):
        square[:] = resize_image(pixels, image_size, interpolation)
        contents.append(str(image.content_sha256))
    return resized, contents


def load_mask_pictures(image_ids: Sequence[str], uris: Sequence[str]) -> Iterator[DecodedImage]:
    """Yield the decoded mask pictures at `uris` one after the other, because all of them might not fit into memory.

    Raises:
        DatasetError: if a mask cannot be read; the error names the first such image, by its id in `image_ids`.
    """
    return (image.decoded for _, image in _readable(image_ids, uris, what="its mask: "))


def unreadable(image_id: str, reason: object, what: str = "") -> DatasetError:
    """Make the error for an image that cannot be read; `what`, such as "its mask: ", comes before the reason."""
    return DatasetError(f"cannot train on {image_id}: {what}{reason}; fix the file, or drop the image from the dataset")


def _readable(
    image_ids: Sequence[str], uris: Sequence[str], *wanted_sizes: int, what: str = ""
) -> Iterator[tuple[np.ndarray, LoadedImage]]:
    """Yield pixels, uint8 [H, W], and loading result of each image; the first image without pixels raises an error."""
    images = load_images(uris, wanted_sizes=wanted_sizes)
    for image_id, image in zip(image_ids, images, strict=True):
        if image.decoded.pixels is None:
            raise unreadable(image_id, image.decoded.error, what)
        yield image.decoded.pixels, image
