"""Batches of a worker from a stream: full batches for training, and every image for validation."""

import numpy as np
import pyarrow as pa
import pytest
import ray
from PIL import Image

from cxr_ray.training.streamed_feed import StreamedFeed, streamed_images

pytestmark = pytest.mark.cluster


def stream_of(count):
    rows = [{"position": i, "pixels": np.full((2, 2), i, np.uint8)} for i in range(count)]
    return ray.data.from_items(rows).iterator()


@pytest.mark.parametrize(
    ("images", "batch_size", "trained", "validated"),
    [
        (10, 4, [4, 4], [4, 4, 2]),
        (8, 4, [4, 4], [4, 4]),
        (3, 4, [3], [3]),
    ],
)
def test_training_drops_a_last_batch_that_is_not_full_unless_it_is_the_only_one(
    ray_cluster, images, batch_size, trained, validated
):
    """If one worker had more steps than another, it would wait for the other worker forever."""
    feed = StreamedFeed(stream_of(images), batch_size, images)
    assert [len(batch.positions) for batch in feed.shuffled(0)] == trained
    batches = list(feed.in_order())
    assert [len(batch.positions) for batch in batches] == validated
    assert sorted(np.concatenate([batch.positions for batch in batches]).tolist()) == list(range(images))
    for positions, pixels in batches:
        np.testing.assert_array_equal(pixels, np.broadcast_to(positions[:, None, None], pixels.shape))


def test_a_stream_cannot_draw_by_weights(ray_cluster):
    with pytest.raises(ValueError, match="a stream cannot draw images by weights; use --feed cache"):
        StreamedFeed(stream_of(4), 2, 4).shuffled(0, np.ones(4))


@pytest.fixture
def rows(tmp_path):
    """Dataset rows of 40 grey images of 8 x 8 pixels; image i has the grey value i."""
    names = [f"{i}.png" for i in range(40)]
    for i, name in enumerate(names):
        Image.new("L", (8, 8), i).save(tmp_path / name)
    return pa.table({"image_id": names, "uri": [str(tmp_path / name) for name in names]})


def test_every_pass_has_all_images_in_an_order_of_its_own_and_validation_in_that_of_the_rows(ray_cluster, rows):
    def passes(shuffle_seed):
        feed = StreamedFeed(streamed_images(rows, image_size=4, shuffle_seed=shuffle_seed).iterator(), 8, 40)
        return [list(feed.shuffled(0)) for _ in range(2)]

    first, second = passes(shuffle_seed=3)
    orders = [np.concatenate([batch.positions for batch in one]).tolist() for one in (first, second)]
    assert [sorted(order) for order in orders] == [list(range(40))] * 2
    assert orders[0] != orders[1] != list(range(40)) != orders[0]
    for positions, pixels in first:
        assert (pixels.shape, pixels.dtype) == ((8, 4, 4), np.uint8)
        np.testing.assert_array_equal(pixels[:, 2, 1], positions)
    unshuffled, _ = passes(shuffle_seed=None)
    assert np.concatenate([batch.positions for batch in unshuffled]).tolist() == list(range(40))


def test_an_image_that_cannot_be_read_is_named(ray_cluster, rows, tmp_path):
    (tmp_path / "7.png").write_bytes(b"no picture")
    feed = StreamedFeed(streamed_images(rows, image_size=4, shuffle_seed=None).iterator(), 8, 40)
    with pytest.raises(
        ray.exceptions.RayTaskError, match=r"cannot train on 7\.png: .*; fix the file, or drop the image"
    ):
        list(feed.in_order())
