import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.config import TrainSegmenterConfig
from cxr_ray.models.bundle import read_card
from cxr_ray.models.segmenter_ensemble import SegmenterCard
from cxr_ray.training.batch import Batch
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.learning_rate import cosine_fraction
from cxr_ray.training.segmenter.learner import SegmenterLearner
from cxr_ray.training.segmenter.loop import MEMBERS, drawn_batches, run_epoch
from cxr_ray.training.segmenter.task import SegmenterTask
from cxr_ray.training.segmenter.views import MaskedViews
from cxr_ray.training.worker_context import WorkerContext


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, because several would wait for each other longer than they compute on batches this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def a_training(seed=0, **options):
    """Make task, learner, feeds and counts of a training on 8 squares, of which 4 are validated."""
    options = {
        "image_size": 32, "filters": (4, 8, 8), "epochs": 4, "cycles": 2, "batch_size": 4, "precision": "fp32",
        "learning_rate": 0.02, "momentum": 0.9, "warmup": 0.0, "deep_supervision": 1,
    } | options  # fmt: skip
    task = SegmenterTask(
        config=TrainSegmenterConfig(dataset_uri="d", output_uri="o", **options), cached={}, weights=np.ones(8),
        dataset_fingerprint="f", threads=1, listener=None,
    )  # fmt: skip
    context = WorkerContext(rank=0, world_size=1, device=torch.device("cpu"))
    planes = np.zeros((8, 2, 32, 32), np.uint8)
    for i in range(8):
        planes[i, :, 4 + i : 16 + i, 8:24] = 255
    feeds = {
        "train": CachedFeed(PixelCache([planes]), context, 4),
        "val": CachedFeed(PixelCache([planes[:4]]), context, 4),
    }
    torch.manual_seed(seed)
    return task, SegmenterLearner(task.config, context=context), feeds, {"train": 8, "val": 4}


def test_a_network_joins_the_ensemble_at_the_end_of_every_cycle_and_the_bundle_holds_all(tmp_path):
    training = a_training()
    epochs = [run_epoch(*training, epoch) for epoch in range(1, 5)]
    metrics = [finished.report.metrics for finished in epochs]
    assert [one[MEMBERS] for one in metrics] == [0, 1, 0, 2]
    assert [one["epoch"] for one in metrics] == [1, 2, 3, 4]
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]
    assert all(0 <= one["val_dsc"] <= 1 for one in metrics)
    # An epoch has two steps; its last rate is that at one or three quarters of a cycle.
    assert [one["learning_rate"] for one in metrics] == pytest.approx(
        [0.02 * cosine_fraction(progress, 0.0) for progress in (0.25, 0.75) * 2]
    )
    epochs[-1].save_bundle(str(tmp_path), metrics[-1])
    found = read_card(str(tmp_path), SegmenterCard)
    assert (found.members, found.image_size, found.metrics["val_dsc"]) == (2, 32, metrics[-1]["val_dsc"])


def test_networks_of_the_last_epochs_of_a_cycle_join_where_several_are_kept():
    training = a_training(keep=2, cycles=1)
    assert [run_epoch(*training, epoch).report.metrics[MEMBERS] for epoch in range(1, 5)] == [0, 0, 0, 2]


def test_an_epoch_that_is_run_again_repeats_itself():
    training = a_training()
    run_epoch(*training, 1)
    state = copy.deepcopy(training[1].state_dict())
    straight = run_epoch(*training, 2).report.metrics
    again = a_training(seed=99)
    again[1].load_state_dict(state)
    torch.rand(5)  # random numbers drawn in between change nothing
    repeated = run_epoch(*again, 2).report.metrics
    for name in ("train_loss", "val_loss", "val_dsc", "learning_rate"):
        assert repeated[name] == pytest.approx(straight[name], rel=1e-4), name


def test_an_epoch_has_the_steps_asked_for():
    training = a_training(steps=5, epochs=1, cycles=1)
    rate = run_epoch(*training, 1).report.metrics["learning_rate"]
    assert rate == pytest.approx(0.02 * cosine_fraction(4 / 5, 0.0))


def test_an_epoch_whose_loss_is_no_finite_number_has_no_result():
    task, learner, feeds, counts = a_training()
    with torch.no_grad():
        next(learner.network.parameters()).fill_(float("nan"))
    assert run_epoch(task, learner, feeds, counts, 1) is None
