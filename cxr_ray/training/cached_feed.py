"""Images decoded once, at training resolution, in the cluster's object store.

Workers of one node share one copy in memory; every epoch draws its own order over all images.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import ray

from cxr_ray.errors import DatasetError
from cxr_ray.imaging.decode import DecodeLimits
from cxr_ray.imaging.load import load_images
from cxr_ray.imaging.resize import resize_image
from cxr_ray.training.batch import Batch
from cxr_ray.training.worker_context import WorkerContext

IMAGES_PER_PART = 256


class PixelCache:
    """All images of one split as a worker sees them.

    Args:
        parts: uint8 arrays [n, S, S], zero-copy views of the object store; all but the last of one length.
        chosen: int64 [N], which of their images the split is made of, each as often as it is named; all if None.
    """

    def __init__(self, parts: Sequence[np.ndarray], chosen: np.ndarray | None = None) -> None:
        self._parts = parts
        self._chosen = np.arange(sum(len(part) for part in parts)) if chosen is None else chosen

    def __len__(self) -> int:
        """Number of images."""
        return len(self._chosen)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Images uint8 [len(positions), S, S], copied."""
        return np.stack([self._parts[p // IMAGES_PER_PART][p % IMAGES_PER_PART] for p in self._chosen[positions]])


class CachedFeed:
    """One worker's share of a split, from memory.

    Args:
        cache: all images of the split.
        context: of the worker.
        batch_size: images a batch.
    """

    def __init__(self, cache: PixelCache, context: WorkerContext, batch_size: int) -> None:
        self._cache, self._context, self._batch_size = cache, context, batch_size

    def shuffled(self, seed: int, weights: np.ndarray | None = None) -> Iterator[Batch]:
        """Batches of one epoch; see `shuffled_positions`."""
        for positions in shuffled_positions(
            len(self._cache), batch_size=self._batch_size, context=self._context, seed=seed, weights=weights
        ):
            yield Batch(positions, self._cache.take(positions))

    def in_order(self) -> Iterator[Batch]:
        """Every image of this worker's share once; the workers' shares together are the split."""
        mine = np.arange(self._context.rank, len(self._cache), self._context.world_size)
        for start in range(0, len(mine), self._batch_size):
            positions = mine[start : start + self._batch_size]
            yield Batch(positions, self._cache.take(positions))


def shuffled_positions(
    count: int, *, batch_size: int, context: WorkerContext, seed: int, weights: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Positions of this worker's batches in an order drawn by `seed` over all workers.

    Every worker gets the same number of full batches, so that no step waits for a worker that has none; the fewer
    than `world_size * batch_size` images at the end of the order sit this epoch out, unless there are no others.

    Args:
        count: images of the split.
        batch_size: of one worker.
        context: of the worker.
        seed: of the epoch.
        weights: float [count]; positions are then drawn with replacement, in proportion to these.
    """
    generator = np.random.default_rng(seed)
    if weights is None:
        order = generator.permutation(count)
    else:
        order = generator.choice(count, count, p=weights / weights.sum())
    mine = order[context.rank :: context.world_size]
    for step in range(max(1, count // (batch_size * context.world_size))):
        yield mine[step * batch_size : (step + 1) * batch_size]


def cache_pixels(rows: pa.Table, *, image_size: int) -> "list[ray.ObjectRef]":
    """Decode the images of a dataset table on all cores; references to the parts of its `PixelCache`.

    Raises:
        DatasetError: naming the first image that cannot be read.
    """
    return cache_images(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), image_size=image_size)[0]


def cache_images(
    image_ids: list[str], uris: list[str], *, image_size: int, interpolation: str = "bilinear"
) -> "tuple[list[ray.ObjectRef], list[str]]":
    """The same for images by name, and the sha256 of each one's content.

    Raises:
        DatasetError: naming the first image that cannot be read.
    """
    starts = range(0, len(uris), IMAGES_PER_PART)
    slices = [slice(start, start + IMAGES_PER_PART) for start in starts]
    loading = [_load_part.remote(image_ids[part], uris[part], image_size, interpolation) for part in slices]
    parts, contents = [], []
    while loading:  # and let go of each, or all images would stand in memory twice
        pixels, found = loading.pop(0)
        part_contents, problem = ray.get(found)
        if problem:
            raise DatasetError(problem)
        contents += part_contents
        parts.append(kept_here(pixels))
    return parts, contents


def kept_here(made: ray.ObjectRef) -> ray.ObjectRef:
    """What a task made, as an object of this process.

    A node that is lost takes along what was made on it. The task would have to make it anew, and wait for ever for the
    CPUs that training workers hold, who wait for it.
    """
    return ray.put(ray.get(made))


@ray.remote(num_cpus=1, num_returns=2, scheduling_strategy="SPREAD")  # also out of the reservation of a trial of Tune
def _load_part(
    image_ids: list[str], uris: list[str], image_size: int, interpolation: str
) -> tuple[np.ndarray, tuple[list[str], str | None]]:
    """Pixels uint8 [n, image_size, image_size]; sha256 of each, and what is wrong with the first unreadable image."""
    pixels = np.empty((len(uris), image_size, image_size), np.uint8)
    contents: list[str] = []
    images = load_images(uris, [None] * len(uris), limits=DecodeLimits(), wanted_sizes=(image_size,))
    for position, image in enumerate(images):
        if image.decoded.pixels is None or image.content_sha256 is None:
            problem = f"cannot train on {image_ids[position]}: {image.decoded.error}; prepare the dataset again"
            return pixels, (contents, problem)
        pixels[position] = resize_image(image.decoded.pixels, image_size, interpolation)
        contents.append(image.content_sha256)
    return pixels, (contents, None)
