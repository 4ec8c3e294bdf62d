import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.config import TrainSegmenterConfig
from cxr_ray.training.batch import Batch
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.segmenter.loop import drawn_batches
from cxr_ray.training.segmenter.task import SegmenterTask
from cxr_ray.training.segmenter.views import MaskedViews
from cxr_ray.training.worker_context import WorkerContext


def feed_of(count, batch_size):
    context = WorkerContext(rank=0, world_size=1, device=torch.device("cpu"))
    return CachedFeed(PixelCache([np.zeros((count, 2, 8, 8), np.uint8)]), context, batch_size)


@given(images=st.integers(8, 60), steps=st.integers(1, 40))
def test_an_epoch_has_its_steps_however_many_images_there_are(images, steps):
    batches = list(drawn_batches(feed_of(images, 8), steps, 0, 1))
    assert [len(batch.positions) for batch in batches] == [8] * steps
    times_seen = np.bincount(np.concatenate([batch.positions for batch in batches]), minlength=images)
    assert times_seen.max() <= -(-steps // (images // 8))  # once a pass


def test_every_pass_and_every_epoch_has_an_order_of_its_own():
    first, again, other = (list(drawn_batches(feed_of(16, 8), 4, 0, epoch)) for epoch in (1, 1, 2))
    orders = [np.concatenate([b.positions for b in half]).tolist() for half in (first[:2], first[2:], other[:2])]
    assert all(sorted(order) == list(range(16)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert all((a.positions == b.positions).all() for a, b in zip(first, again, strict=True))


def test_a_mask_moves_with_its_image_and_is_trusted_by_its_position():
    options = {"bend": 0.1, "stretch": 0.2, "brightness": 0.0, "contrast": 0.0, "gamma": 0.0}
    task = SegmenterTask(
        config=TrainSegmenterConfig(dataset_uri="d", output_uri="o", **options), cached={},
        weights=np.array([1.0, 0.25, 1.0, 0.5]), dataset_fingerprint="f", threads=1, listener=None,
    )  # fmt: skip
    squares = np.zeros((2, 2, 64, 64), np.uint8)
    squares[:, :, 16:40, 20:44] = 255  # a mask that equals its image
    views = MaskedViews(task, torch.device("cpu"), torch.Generator().manual_seed(0))
    ((inputs, targets),) = views(iter([Batch(np.array([3, 1]), squares)]))
    assert targets.weights.tolist() == [0.5, 0.25]
    lowest, highest = inputs.amin((1, 2, 3), keepdim=True), inputs.amax((1, 2, 3), keepdim=True)
    torch.testing.assert_close((inputs - lowest) / (highest - lowest), targets.masks, rtol=0, atol=1e-4)
    assert not targets.masks.equal(torch.from_numpy(squares[:, 1:]).float() / 255)
