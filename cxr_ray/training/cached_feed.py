"""A feed of images that are decoded once, at training resolution, into the cluster's object store.

All workers of a node read the same copy in memory; every epoch draws a new random order of all images.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import ray

from cxr_ray.training.batch import Batch
from cxr_ray.training.object_store import load_in_parts
from cxr_ray.training.readable_images import load_resized
from cxr_ray.training.worker_context import WorkerContext

IMAGES_PER_PART = 256


class PixelCache:
    """The decoded images of one split, read from the object store.

    Args:
        parts: arrays uint8 [n, S, S] or [n, P, S, S], zero-copy views of the object store; every part except the last
            has `IMAGES_PER_PART` images.
        chosen: int64 [N], positions in `parts` of the images of the split, which may repeat; None chooses all images.
    """

    def __init__(self, parts: Sequence[np.ndarray], chosen: np.ndarray | None = None) -> None:
        self._parts = parts
        self._chosen = np.arange(sum(len(part) for part in parts)) if chosen is None else chosen

    def __len__(self) -> int:
        """Number of images."""
        return len(self._chosen)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Copy the images at `positions` (int64 [B]) of the split, uint8 [B, S, S] or uint8 [B, P, S, S]."""
        return np.stack([self._parts[p // IMAGES_PER_PART][p % IMAGES_PER_PART] for p in self._chosen[positions]])


class CachedFeed:
    """Feed that gives one worker batches of a split whose images are in memory.

    Args:
        cache: all images of the split.
        context: rank and number of the workers, which determine the shard of this worker.
        batch_size: images per batch of one worker.
    """

    def __init__(self, cache: PixelCache, context: WorkerContext, batch_size: int) -> None:
        self._cache, self._context, self._batch_size = cache, context, batch_size

    def shuffled(self, seed: int, weights: np.ndarray | None = None) -> Iterator[Batch]:
        """Yield the batches of one epoch at the positions that `shuffled_positions` draws from `seed` and `weights`."""
        for positions in shuffled_positions(
            len(self._cache), batch_size=self._batch_size, context=self._context, seed=seed, weights=weights
        ):
            yield Batch(positions, self._cache.take(positions))

    def in_order(self) -> Iterator[Batch]:
        """Yield each image of this worker's shard once; the shards of all workers together are the whole split."""
        shard = np.arange(self._context.rank, len(self._cache), self._context.world_size)
        for start in range(0, len(shard), self._batch_size):
            positions = shard[start : start + self._batch_size]
            yield Batch(positions, self._cache.take(positions))


def batches_per_epoch(count: int, *, batch_size: int, world_size: int) -> int:
    """Number of full batches of `batch_size` per worker and epoch for `count` images; 1 if no batch is full."""
    return max(1, count // (batch_size * world_size))


def shuffled_positions(
    count: int, *, batch_size: int, context: WorkerContext, seed: int, weights: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield the positions of this worker's batches, int64 [batch_size] each, in a random order of the whole split.

    All workers draw the same order from `seed`, and each takes its own positions of it. Every worker gets the same number
    of full batches, so that no step waits for a worker that has none. The images at the end of the order, fewer than
    `world_size * batch_size`, are skipped in this epoch, unless the split is too small for a full batch of each worker.

    Args:
        count: number of images in the split.
        batch_size: images per batch of one worker.
        context: rank and number of the workers.
        seed: seed of the epoch, which must be the same for all workers.
        weights: float [count]; positions are drawn with replacement in proportion to these weights. None draws every
            position once.
    """
    generator = np.random.default_rng(seed)
    if weights is None:
        order = generator.permutation(count)
    else:
        order = generator.choice(count, count, p=weights / weights.sum())
    shard = order[context.rank :: context.world_size]
    for step in range(batches_per_epoch(count, batch_size=batch_size, world_size=context.world_size)):
        yield shard[step * batch_size : (step + 1) * batch_size]


def cache_pixels(rows: pa.Table, *, image_size: int) -> "list[ray.ObjectRef]":
    """Decode the images of a dataset table on all cores of the cluster.

    Args:
        rows: table with the columns `image_id` and `uri`.
        image_size: height and width, in pixels, to which each image is resized.

    Returns:
        References to the parts of a `PixelCache`, uint8 [n, image_size, image_size].

    Raises:
        DatasetError: if an image cannot be read; the error names the first one.
    """
    return cache_images(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), image_size=image_size)[0]


def cache_images(
    image_ids: list[str], uris: list[str], *, image_size: int, interpolation: str = "bilinear"
) -> "tuple[list[ray.ObjectRef], list[str]]":
    """Decode images on all cores of the cluster.

    Args:
        image_ids: ids of the images, which errors name.
        uris: URI of the file of each image.
        image_size: height and width, in pixels, to which each image is resized.
        interpolation: name of the interpolation, see `resize_image`.

    Returns:
        References to the parts of a `PixelCache`, uint8 [n, image_size, image_size], and the SHA-256 of the content of
        each image's file.

    Raises:
        DatasetError: if an image cannot be read; the error names the first one.
    """
    slices = [slice(start, start + IMAGES_PER_PART) for start in range(0, len(uris), IMAGES_PER_PART)]
    arguments = [(image_ids[part], uris[part], image_size, interpolation) for part in slices]
    parts, contents = load_in_parts(load_resized, arguments)
    return parts, [content for of_part in contents for content in of_part]
