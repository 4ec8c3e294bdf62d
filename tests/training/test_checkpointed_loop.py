"""Metrics of an epoch over all workers."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from cxr_ray.training.checkpointed_loop import train_and_validate
from cxr_ray.training.worker_context import WorkerContext


@dataclass(frozen=True, kw_only=True, slots=True)
class WithSecondWorker(WorkerContext):
    """A worker of two, of which the second always gives the value `neighbour`."""

    neighbour: Any

    def gather(self, value):
        return [value, self.neighbour]


class Counting:
    """A learner whose loss is the sum of its batches, and which records the arguments of its calls."""

    learning_rate = 1e-3

    def __init__(self, context):
        self.context, self.calls = context, []

    def train_epoch(self, batches, *, epoch, steps):
        batches = list(batches)
        self.calls.append((epoch, steps))
        return float(sum(batches)), 10 * len(batches)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        del state


def test_the_loss_of_an_epoch_is_the_mean_over_images_and_not_over_workers():
    context = WithSecondWorker(rank=0, world_size=2, device=torch.device("cpu"), neighbour=(2.0, 10, "theirs"))
    learner = Counting(context)
    metrics, shards = train_and_validate(learner, iter([1.0, 2.0, 3.0]), lambda: "ours", epoch=4, steps=3)
    assert learner.calls == [(4, 3)]
    assert shards == ["ours", "theirs"]
    assert metrics.pop("images_per_second") > 40
    assert metrics == {
        "epoch": 4,
        "train_loss": pytest.approx((30 * 6.0 + 10 * 2.0) / 40),
        "learning_rate": 1e-3,
        "workers": 2,
    }


def test_validation_follows_the_training():
    learner = Counting(WorkerContext(rank=0, world_size=1, device=torch.device("cpu")))
    _, (seen,) = train_and_validate(learner, iter([1.0]), lambda: list(learner.calls), epoch=1, steps=1)
    assert seen == [(1, 1)]
