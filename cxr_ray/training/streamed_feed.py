"""Images decoded anew in every epoch by Ray Data, for splits that no memory holds."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.data import DataIterator, RandomSeedConfig
from ray.train import DataConfig

from cxr_ray.imaging.decode import DecodeLimits
from cxr_ray.imaging.load import load_images
from cxr_ray.imaging.resize import resize_image
from cxr_ray.training.batch import Batch

IMAGES_PER_BLOCK = 128


class StreamedFeed:
    """One worker's share of a split, from its side of a streaming split.

    Args:
        shard: of `streamed_images`.
        batch_size: images a batch.
        share: images of the split that fall to each worker; fewer than a batch are trained on as they are.
    """

    def __init__(self, shard: DataIterator, batch_size: int, share: int) -> None:
        self._shard, self._batch_size, self._share = shard, batch_size, share

    def shuffled(self, seed: int, weights: None = None) -> Iterator[Batch]:
        """Full batches of one epoch; the order was drawn when the stream was made, anew for every pass."""
        del seed, weights
        return self._batches(drop_last=self._share >= self._batch_size)

    def in_order(self) -> Iterator[Batch]:
        """Every image of this worker's share once."""
        return self._batches(drop_last=False)

    def _batches(self, *, drop_last: bool) -> Iterator[Batch]:
        batches = self._shard.iter_batches(batch_size=self._batch_size, batch_format="numpy", drop_last=drop_last)
        return (Batch(batch["position"], batch["pixels"]) for batch in batches)


class SharedOut(DataConfig):
    """Streams to workers: train images in equal shares, so that all take as many steps; others every one once."""

    def configure(
        self,
        datasets: dict[str, "ray.data.Dataset"],
        world_size: int,
        worker_handles: Any,
        worker_node_ids: Any,
        **kwargs: Any,
    ) -> list[dict[str, DataIterator]]:
        """See `ray.train.DataConfig`, which would drop what does not divide evenly from every split."""
        del worker_handles, kwargs
        shares: list[dict[str, DataIterator]] = [{} for _ in range(world_size)]
        for split, images in datasets.items():
            streams = images.streaming_split(world_size, equal=split == "train", locality_hints=worker_node_ids)
            for share, stream in zip(shares, streams, strict=True):
                share[split] = stream
        return shares


def streamed_images(rows: pa.Table, *, image_size: int, shuffle_seed: int | None) -> "ray.data.Dataset":
    """A dataset table's images as rows of `position` and `pixels` (uint8 [image_size, image_size]).

    Args:
        rows: dataset table of one split.
        image_size: pixels a side.
        shuffle_seed: draws another order, before anything is downloaded, in every pass; None keeps that of the rows.

    A worker that meets an image that cannot be read raises `ray.exceptions.RayTaskError` naming it.
    """
    table = rows.select(["image_id", "uri"]).append_column("position", pa.array(np.arange(rows.num_rows)))
    images = ray.data.from_arrow(table)
    if shuffle_seed is not None:
        images = images.random_shuffle(seed=RandomSeedConfig(seed=shuffle_seed, reseed_after_execution=True))
    load = partial(_load, image_size=image_size)
    return images.repartition(target_num_rows_per_block=IMAGES_PER_BLOCK).map_batches(load, batch_size=IMAGES_PER_BLOCK)


def _load(batch: dict[str, np.ndarray], *, image_size: int) -> dict[str, np.ndarray]:
    uris = batch["uri"].tolist()
    pixels = np.empty((len(uris), image_size, image_size), np.uint8)
    images = load_images(uris, [None] * len(uris), limits=DecodeLimits(), wanted_sizes=(image_size,))
    for position, image in enumerate(images):
        if image.decoded.pixels is None:
            image_id = batch["image_id"][position]
            raise ValueError(f"cannot train on {image_id}: {image.decoded.error}; prepare the dataset again")
        pixels[position] = resize_image(image.decoded.pixels, image_size)
    return {"position": batch["position"], "pixels": pixels}
