"""A feed of images that Ray Data decodes again in every epoch, for splits that do not fit into memory."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.data import DataIterator, RandomSeedConfig
from ray.train import DataConfig

from cxr_ray.training.batch import Batch
from cxr_ray.training.readable_images import load_resized

IMAGES_PER_BLOCK = 128


class StreamedFeed:
    """Feed that gives one worker batches from a stream of images.

    Args:
        shard: this worker's part of the stream of `streamed_images`.
        batch_size: images per batch.
        shard_size: number of the split's images per worker; if they do not fill a batch, they are one smaller batch.
    """

    def __init__(self, shard: DataIterator, batch_size: int, shard_size: int) -> None:
        self._shard, self._batch_size, self._shard_size = shard, batch_size, shard_size

    def shuffled(self, seed: int, weights: np.ndarray | None = None) -> Iterator[Batch]:
        """Return the full batches of one epoch; the stream shuffles itself in every pass, so that `seed` has no effect.

        Raises:
            ValueError: if `weights` are given, because a stream cannot draw images by weights.
        """
        del seed
        if weights is not None:
            raise ValueError("a stream cannot draw images by weights; use --feed cache to load the images into memory")
        return self._batches(drop_last=self._shard_size >= self._batch_size)

    def in_order(self) -> Iterator[Batch]:
        """Yield each image of this worker's shard of the split once; the last batch may be smaller."""
        return self._batches(drop_last=False)

    def _batches(self, *, drop_last: bool) -> Iterator[Batch]:
        batches = self._shard.iter_batches(batch_size=self._batch_size, batch_format="numpy", drop_last=drop_last)
        return (Batch(batch["position"], batch["pixels"]) for batch in batches)


class ShardedStreams(DataConfig):
    """Distributes streams over workers: equal shards of the train split, and every image of the other splits.

    Equal shards give all workers the same number of steps.
    """

    def configure(
        self,
        datasets: dict[str, "ray.data.Dataset"],
        world_size: int,
        worker_handles: Any,
        worker_node_ids: Any,
        **kwargs: Any,
    ) -> list[dict[str, DataIterator]]:
        """Return the streams of each worker by split; `ray.train.DataConfig` would drop the remainder of every split."""
        del worker_handles, kwargs
        by_worker: list[dict[str, DataIterator]] = [{} for _ in range(world_size)]
        for split, images in datasets.items():
            streams = images.streaming_split(world_size, equal=split == "train", locality_hints=worker_node_ids)
            for shards, stream in zip(by_worker, streams, strict=True):
                shards[split] = stream
        return by_worker


def streamed_images(rows: pa.Table, *, image_size: int, shuffle_seed: int | None) -> "ray.data.Dataset":
    """Stream the images of a dataset table as rows `position` (int64) and `pixels` (uint8 [image_size, image_size]).

    If an image cannot be read, its worker raises `ray.exceptions.RayTaskError`, which names the image.

    Args:
        rows: dataset table of one split, with the columns `image_id` and `uri`.
        image_size: height and width, in pixels, to which each image is resized.
        shuffle_seed: seed of the shuffling, which happens before each pass and before any download; None keeps the order
            of `rows`.
    """
    table = rows.select(["image_id", "uri"]).append_column("position", pa.array(np.arange(rows.num_rows)))
    images = ray.data.from_arrow(table)
    if shuffle_seed is not None:
        images = images.random_shuffle(seed=RandomSeedConfig(seed=shuffle_seed, reseed_after_execution=True))
    load = partial(_load, image_size=image_size)
    return images.repartition(target_num_rows_per_block=IMAGES_PER_BLOCK).map_batches(load, batch_size=IMAGES_PER_BLOCK)


def _load(batch: dict[str, np.ndarray], *, image_size: int) -> dict[str, np.ndarray]:
    pixels, _ = load_resized(batch["image_id"].tolist(), batch["uri"].tolist(), image_size)
    return {"position": batch["position"], "pixels": pixels}
