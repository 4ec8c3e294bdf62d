import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cxr_ray.training.cached_feed import IMAGES_PER_PART, CachedFeed, PixelCache, shuffled_positions
from cxr_ray.training.worker_context import WorkerContext


def context_of(rank=0, world_size=1):
    return WorkerContext(rank=rank, world_size=world_size, device=torch.device("cpu"))


def batches_of(count, batch_size, world_size, seed=0, weights=None):
    return [
        list(
            shuffled_positions(
                count, batch_size=batch_size, context=context_of(rank, world_size), seed=seed, weights=weights
            )
        )
        for rank in range(world_size)
    ]


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**31))
def test_workers_get_equal_numbers_of_batches_and_no_image_twice(count, batch_size, world_size, seed):
    by_rank = batches_of(count, batch_size, world_size, seed)
    assert len({len(batches) for batches in by_rank}) == 1
    drawn = np.concatenate([batch for batches in by_rank for batch in batches])
    assert len(set(drawn.tolist())) == len(drawn)
    assert set(drawn.tolist()) <= set(range(count))
    if count >= batch_size * world_size:
        assert all(len(batch) == batch_size for batches in by_rank for batch in batches)
        assert count - len(drawn) < batch_size * world_size
    else:
        assert len(drawn) == count


def test_the_order_is_drawn_by_the_seed():
    same, again, other = (np.concatenate(batches_of(100, 10, 1, seed)[0]).tolist() for seed in (1, 1, 2))
    assert same == again != other
    assert sorted(same) == sorted(other) == list(range(100))
    assert same != sorted(same)


def test_one_batch_of_several_workers_is_drawn_from_one_order():
    alone = np.concatenate(batches_of(64, 8, 1, seed=5)[0])
    first, second = (np.concatenate(batches) for batches in batches_of(64, 4, 2, seed=5))
    np.testing.assert_array_equal(alone[0::2], first)
    np.testing.assert_array_equal(alone[1::2], second)


def test_weights_draw_rare_images_as_often_as_common_ones():
    weights = np.array([1.0] * 900 + [9.0] * 100)
    drawn = np.concatenate(batches_of(1000, 100, 1, seed=3, weights=weights)[0])
    assert 0.42 < np.mean(drawn >= 900) < 0.58


@pytest.fixture
def cache():
    """Cache of 300 images of 2 x 2 pixels, which need two parts; all pixels of image i have the value i % 251."""
    pixels = np.broadcast_to((np.arange(300) % 251).astype(np.uint8)[:, None, None], (300, 2, 2))
    return PixelCache([pixels[:IMAGES_PER_PART], pixels[IMAGES_PER_PART:]])


def test_batches_carry_the_pixels_of_their_positions(cache):
    for batches in (CachedFeed(cache, context_of(), 32).shuffled(7), CachedFeed(cache, context_of(), 32).in_order()):
        for positions, pixels in batches:
            assert pixels.shape == (len(positions), 2, 2)
            np.testing.assert_array_equal(pixels[:, 1, 0], positions % 251)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_in_order_the_workers_shards_are_every_image_once(cache, world_size):
    shards = [
        np.concatenate([batch.positions for batch in CachedFeed(cache, context_of(rank, world_size), 32).in_order()])
        for rank in range(world_size)
    ]
    assert sorted(np.concatenate(shards).tolist()) == list(range(300))


def test_a_split_may_be_made_of_some_images_and_of_some_twice(cache):
    chosen = np.array([299, 3, 3, 257])
    some = PixelCache(cache._parts, chosen)
    assert len(some) == 4
    found = np.concatenate([batch.pixels[:, 0, 0] for batch in CachedFeed(some, context_of(), 3).in_order()])
    np.testing.assert_array_equal(found, chosen % 251)


LOSE_EVERY_NODE = """
import logging, sys
import pyarrow as pa, ray
from ray.cluster_utils import Cluster
from cxr_ray.training.cached_feed import cache_pixels

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
ray.init(address=cluster.address, logging_level=logging.ERROR, log_to_driver=False)
uris = sys.argv[1:] * 200
parts = cache_pixels(pa.table({"image_id": uris, "uri": uris}), image_size=256)
for node in nodes:
    cluster.remove_node(node, allow_graceful=False)
print([part.shape for part in ray.get(parts, timeout=60)])
"""


@pytest.mark.slow
@pytest.mark.cluster
def test_images_outlive_the_nodes_that_decoded_them(tmp_path, short_folder):
    """After the nodes are lost, no CPU is left to decode the images again, as if training workers held all CPUs."""
    names = [str(tmp_path / f"{i}.png") for i in range(2)]
    for i, name in enumerate(names):
        Image.new("L", (8, 8), 100 * i).save(name)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["RAY_TMPDIR"] = str(short_folder)  # Ray writes its address here; no other job may join the cluster
    line = [sys.executable, "-c", LOSE_EVERY_NODE, *names]
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert "[(256, 256, 256), (144, 256, 256)]" in ended.stdout, ended.stderr
