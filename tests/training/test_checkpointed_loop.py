"""Figures over the workers of an epoch, and seeds."""

import itertools

import pytest

from cxr_ray.training.checkpointed_loop import seed_of, training_figures


def test_the_loss_of_an_epoch_is_the_mean_over_images_and_not_over_workers():
    figures = training_figures(3, [1.0, 4.0], [30, 10], seconds=2.0, learning_rate=1e-3)
    assert figures == {
        "epoch": 3,
        "train_loss": pytest.approx((30 * 1.0 + 10 * 4.0) / 40),
        "learning_rate": 1e-3,
        "images_per_second": 20.0,
        "workers": 2,
    }


def test_a_seed_depends_on_every_part_and_on_their_order():
    parts = [(seed, epoch, rank) for seed, epoch, rank in itertools.product(range(4), range(1, 6), range(3))]
    seeds = [seed_of(*one) for one in parts] + [seed_of(*one, 1) for one in parts]
    assert len(set(seeds)) == len(seeds)
    assert seeds[:5] == [seed_of(*one) for one in parts[:5]]
