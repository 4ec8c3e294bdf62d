from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.models.grey_input import GreyInput
from cxr_ray.training.epochs import TrainingImages, predict_logits, shuffled_batches, train_epoch
from cxr_ray.training.pixel_cache import IMAGES_PER_PART, PixelCache


def batches_of(count, batch_size, world_size, seed=0):
    return [
        list(shuffled_batches(count, batch_size=batch_size, rank=rank, world_size=world_size, seed=seed))
        for rank in range(world_size)
    ]


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**31))
def test_workers_share_the_images_in_as_many_batches_each_and_none_twice(count, batch_size, world_size, seed):
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


@pytest.fixture
def images():
    """300 images of 2x2, more than a part of the cache; image i is i % 251 at the left and 0 at the right."""
    pixels = np.zeros((300, 2, 2), np.uint8)
    pixels[:, :, 0] = (np.arange(300) % 251)[:, None]
    parts = [pixels[:IMAGES_PER_PART], pixels[IMAGES_PER_PART:]]
    to_input = GreyInput((0, 0, 0), (1, 1, 1), torch.device("cpu"), torch.contiguous_format)
    return TrainingImages(PixelCache(parts), np.arange(300), to_input)


def test_inputs_are_the_images_asked_for(images):
    inputs = images.inputs(np.array([299, 0, 7, 255, 256, 7]))
    assert inputs.shape == (6, 3, 2, 2)
    np.testing.assert_allclose(inputs[:, 2, 1, 0].numpy() * 255, [48, 0, 7, 4, 5, 7], atol=1e-4)


def test_half_of_the_images_are_mirrored_and_targets_stay_with_them(images):
    positions = np.arange(1, 251)
    drawn = [list(images.augmented(iter([positions]), torch.Generator().manual_seed(s))) for s in (0, 0, 1)]
    ((inputs, targets),) = drawn[0]
    left, right = inputs[:, 0, 0, 0], inputs[:, 0, 0, 1]
    np.testing.assert_array_equal(targets.numpy(), positions)
    assert targets.dtype == torch.int64
    np.testing.assert_allclose((left + right).numpy() * 255, positions, atol=1e-4)
    assert 0.35 < (right > 0).float().mean() < 0.65
    assert inputs.equal(drawn[1][0][0])
    assert not inputs.equal(drawn[2][0][0])


def blobs():
    """Two classes that a linear layer can part, in batches of unequal size."""
    torch.manual_seed(0)
    targets = torch.arange(50) % 2
    inputs = torch.randn(50, 4) + 3 * targets[:, None]
    return [(inputs[:32], targets[:32]), (inputs[32:], targets[32:])]


def epoch(model, learning_rate):
    """One epoch of plain gradient descent; its loss, and the losses that it learned from."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=learning_rate), []

    def update(loss):
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    arguments = {"criterion": torch.nn.functional.cross_entropy, "autocast": nullcontext, "update": update}
    return train_epoch(model, iter(blobs()), **arguments), losses


def descend(model, learning_rate):
    """An `update` by plain gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)

    def update(loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


def test_an_epoch_gives_its_mean_loss_and_updates_once_a_batch():
    model, losses = torch.nn.Linear(4, 2), []
    criterion = torch.nn.CrossEntropyLoss()
    loss = train_epoch(model, iter(blobs()), criterion=criterion, autocast=nullcontext, update=losses.append)
    inputs, targets = (torch.cat(parts) for parts in zip(*blobs(), strict=True))
    assert loss == pytest.approx(criterion(model(inputs), targets).item(), rel=1e-5)
    assert [one.requires_grad for one in losses] == [True, True]


def test_epochs_learn():
    torch.manual_seed(1)
    model = torch.nn.Linear(4, 2)
    arguments = {"criterion": torch.nn.CrossEntropyLoss(), "autocast": nullcontext, "update": descend(model, 0.1)}
    losses = [train_epoch(model, iter(blobs()), **arguments) for _ in range(30)]
    assert losses[-1] < losses[0] / 2


def test_a_model_trains_with_dropout_and_predicts_without():
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 2))
    criterion = torch.nn.CrossEntropyLoss()
    train_epoch(model, iter(blobs()), criterion=criterion, autocast=nullcontext, update=descend(model, 0.1))
    assert model.training
    first, second = (predict_logits(model, (i for i, _ in blobs()), autocast=nullcontext) for _ in range(2))
    assert not model.training
    assert first.shape == (50, 2)
    assert first.dtype == torch.float32
    assert first.equal(second)


def test_predicting_nothing_gives_nothing():
    assert predict_logits(torch.nn.Linear(4, 2), iter(()), autocast=nullcontext).numel() == 0
