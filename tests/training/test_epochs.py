from contextlib import nullcontext

import pytest
import torch

from cxr_ray.training.epochs import predict_logits, train_epoch

CRITERION = torch.nn.CrossEntropyLoss()


def blobs(size=10):
    """Batches of `size` points from two classes that a linear layer can separate."""
    torch.manual_seed(0)
    targets = torch.arange(50) % 2
    inputs = torch.randn(50, 4) + 3 * targets[:, None]
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def sgd_step(model, rate):
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)

    def step(_number):
        optimizer.step()
        optimizer.zero_grad()

    return step


def epoch(model, step, **options):
    return train_epoch(model, iter(blobs()), criterion=CRITERION, autocast=nullcontext, step=step, **options)


def test_an_epoch_returns_its_mean_loss_and_steps_once_per_batch():
    model, steps = torch.nn.Linear(4, 2), []
    loss, seen = epoch(model, steps.append)
    inputs, targets = (torch.cat(parts) for parts in zip(*blobs(), strict=True))
    assert loss == pytest.approx(CRITERION(model(inputs), targets).item(), rel=1e-5)
    assert (seen, steps) == (50, [0, 1, 2, 3, 4])


def test_accumulated_batches_step_as_one_of_their_size():
    torch.manual_seed(1)
    whole = torch.nn.Linear(4, 2)
    parts = torch.nn.Linear(4, 2)
    parts.load_state_dict(whole.state_dict())
    arguments = {"criterion": CRITERION, "autocast": nullcontext}
    train_epoch(whole, iter(blobs(50)), step=sgd_step(whole, 0.1), **arguments)
    steps = []
    move = sgd_step(parts, 0.1)
    train_epoch(parts, iter(blobs(10)), step=lambda n: (steps.append(n), move(n)), accumulate=5, **arguments)
    assert steps == [0]
    torch.testing.assert_close(parts.weight, whole.weight)


def test_a_last_step_of_fewer_batches_counts_as_well():
    model, steps = torch.nn.Linear(4, 2), []
    assert epoch(model, steps.append, accumulate=3)[1] == 50
    assert steps == [0, 1]


def test_epochs_learn():
    torch.manual_seed(1)
    model = torch.nn.Linear(4, 2)
    step = sgd_step(model, 0.1)
    losses = [epoch(model, step)[0] for _ in range(30)]
    assert losses[-1] < losses[0] / 2


def test_logits_are_float32_and_without_a_gradient():
    logits = predict_logits(torch.nn.Linear(4, 2).double(), torch.zeros(3, 4).double(), autocast=nullcontext)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
