"""Images decoded once, at training resolution, in the cluster's object store.

Workers of one node share one copy in memory; every epoch draws its own order over all images.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import ray

from cxr_ray.errors import DatasetError
from cxr_ray.imaging.decode import DecodeLimits
from cxr_ray.imaging.load import load_images
from cxr_ray.imaging.resize import resize_image

IMAGES_PER_PART = 256


class PixelCache:
    """All images of one split as a worker sees them.

    Args:
        parts: uint8 arrays [n, S, S], zero-copy views of the object store; all but the last of one length.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        """Number of images."""
        return sum(len(part) for part in self._parts)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Images uint8 [len(positions), S, S], copied."""
        return np.stack([self._parts[p // IMAGES_PER_PART][p % IMAGES_PER_PART] for p in positions])


def cache_pixels(rows: pa.Table, *, image_size: int, interpolation: str) -> "list[ray.ObjectRef]":
    """Decode the images of a dataset table on all cores; references to the parts of its `PixelCache`.

    Raises:
        DatasetError: naming the first image that cannot be read.
    """
    ids, uris = rows["image_id"].to_pylist(), rows["uri"].to_pylist()
    starts = range(0, len(ids), IMAGES_PER_PART)
    slices = [slice(start, start + IMAGES_PER_PART) for start in starts]
    loading = [_load_part.remote(ids[part], uris[part], image_size, interpolation) for part in slices]
    for _, problem in loading:
        if message := ray.get(problem):
            raise DatasetError(message)
    return [pixels for pixels, _ in loading]


@ray.remote(num_cpus=1, num_returns=2)
def _load_part(
    image_ids: list[str], uris: list[str], image_size: int, interpolation: str
) -> tuple[np.ndarray, str | None]:
    """Pixels uint8 [n, image_size, image_size], and what is wrong with the first image that cannot be read."""
    pixels = np.empty((len(uris), image_size, image_size), np.uint8)
    images = load_images(uris, [None] * len(uris), limits=DecodeLimits(), wanted_size=image_size)
    for position, image in enumerate(images):
        if image.decoded.pixels is None:
            return pixels, f"cannot train on {image_ids[position]}: {image.decoded.error}; prepare the dataset again"
        pixels[position] = resize_image(image.decoded.pixels, image_size, interpolation)
    return pixels, None
