"""A feed of images that are decoded once, at training resolution, into the cluster's object store.

Workers of one node read one copy in memory; every epoch draws its own order over all images.
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
    """All images of one split as a worker sees them.

    Args:
        parts: arrays uint8 [n, S, S] or [n, P, S, S], zero-copy views of the object store; all but the last have
            `IMAGES_PER_PART` images.
        chosen: int64 [N], positions in `parts` of the images of the split, which may repeat; None for all images.
    """

    def __init__(self, parts: Sequence[np.ndarray], chosen: np.ndarray | None = None) -> None:
        self._parts = parts
        self._chosen = np.arange(sum(len(part) for part in parts)) if chosen is None else chosen

    def __len__(self) -> int:
        """Number of images."""
        return len(self._chosen)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Copies of the images at `positions`, uint8 [len(positions), S, S] or [len(positions), P, S, S]."""
        return np.stack([self._parts[p // IMAGES_PER_PART][p % IMAGES_PER_PART] for p in self._chosen[positions]])


class CachedFeed:
    """Batches of one worker from the images of a split that are in memory.

    Args:
        cache: all images of the split.
        context: the worker's own.
        batch_size: images of a batch of one worker.
    """

    def __init__(self, cache: PixelCache, context: WorkerContext, batch_size: int) -> None:
        self._cache, self._context, self._batch_size = cache, context, batch_size

    def shuffled(self, seed: int, weights: np.ndarray | None = None) -> Iterator[Batch]:
        """Batches of one epoch, at the positions that `shuffled_positions` draws."""
        for positions in shuffled_positions(
            len(self._cache), batch_size=self._batch_size, context=self._context, seed=seed, weights=weights
        ):
            yield Batch(positions, self._cache.take(positions))

    def in_order(self) -> Iterator[Batch]:
        """Batches of this worker's shard of the split, each image once; the shards of all workers are the split."""
        mine = np.arange(self._context.rank, len(self._cache), self._context.world_size)
        for start in range(0, len(mine), self._batch_size):
            positions = mine[start : start + self._batch_size]
            yield Batch(positions, self._cache.take(positions))


def batches_per_epoch(count: int, *, batch_size: int, world_size: int) -> int:
    """Full batches of `batch_size` that each of `world_size` workers gets of `count` images; 1 if they are too few."""
    return max(1, count // (batch_size * world_size))


def shuffled_positions(
    count: int, *, batch_size: int, context: WorkerContext, seed: int, weights: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Positions of this worker's batches, in an order that `seed` draws over all workers.

    Every worker gets the same number of full batches, so that no step waits for a worker that has none. The images at
    the end of the order, fewer than `world_size * batch_size`, are left out of the epoch unless there are no others.

    Args:
        count: images of the split.
        batch_size: images of a batch of one worker.
        context: the worker's own.
        seed: seed of the epoch, the same for all workers.
        weights: float [count]; positions are drawn with replacement in proportion to the weights. None draws each once.
    """
    generator = np.random.default_rng(seed)
    if weights is None:
        order = generator.permutation(count)
    else:
        order = generator.choice(count, count, p=weights / weights.sum())
    mine = order[context.rank :: context.world_size]
    for step in range(batches_per_epoch(count, batch_size=batch_size, world_size=context.world_size)):
        yield mine[step * batch_size : (step + 1) * batch_size]


def cache_pixels(rows: pa.Table, *, image_size: int) -> "list[ray.ObjectRef]":
    """Decode the images of a dataset table on all cores.

    Returns:
        References to the parts of a `PixelCache`, uint8 [n, image_size, image_size].

    Raises:
        DatasetError: naming the first image that cannot be read.
    """
    return cache_images(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), image_size=image_size)[0]


def cache_images(
    image_ids: list[str], uris: list[str], *, image_size: int, interpolation: str = "bilinear"
) -> "tuple[list[ray.ObjectRef], list[str]]":
    """Decode images on all cores.

    Returns:
        References to the parts of a `PixelCache`, uint8 [n, image_size, image_size], and the sha256 of the content of
        each image's file.

    Raises:
        DatasetError: naming the first image that cannot be read.
    """
    slices = [slice(start, start + IMAGES_PER_PART) for start in range(0, len(uris), IMAGES_PER_PART)]
    arguments = [(image_ids[part], uris[part], image_size, interpolation) for part in slices]
    parts, contents = load_in_parts(load_resized, arguments)
    return parts, [content for of_part in contents for content in of_part]
