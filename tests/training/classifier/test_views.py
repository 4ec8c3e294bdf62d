"""Mixup compared with its formula (Zhang et al. 2018): inputs and targets are the same convex combination of two images."""

import numpy as np
import pytest
import torch

from cxr_ray.config.backbones import IMAGENET_MEAN, IMAGENET_STD
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.training.augmentation import Augmentation
from cxr_ray.training.classifier.views import TrainingViews

IMAGES = 400


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 6, 5), dtype=np.uint8)


def seen(pixels, mixup, seed=0):
    """Make inputs and targets; every image has its own class, so that a target holds the fraction of each image."""
    views = TrainingViews(
        to_input=GreyInput(IMAGENET_MEAN, IMAGENET_STD, torch.device("cpu"), torch.contiguous_format),
        augmentation=Augmentation(flip=0.0), classes=IMAGES, mixup=mixup, generator=torch.Generator(),
        mixup_generator=np.random.default_rng(seed),
    )  # fmt: skip
    return views(pixels, np.arange(IMAGES))


@pytest.mark.parametrize("mixup", [0.2, 1.0, 5.0])
def test_targets_and_pixels_are_the_same_convex_combination_of_two_images(pixels, mixup):
    plain, alone = seen(pixels, 0.0)
    assert alone.equal(torch.eye(IMAGES)), "without mixup, an image keeps its own class"
    inputs, fractions = seen(pixels, mixup)
    assert fractions.min() >= 0
    torch.testing.assert_close(fractions.sum(1), torch.ones(IMAGES))
    torch.testing.assert_close(inputs, torch.einsum("ij,jchw->ichw", fractions, plain), rtol=0, atol=1e-4)
    assert ((fractions > 0).sum(1) <= 2).all()
    assert fractions.diagonal().min() >= 0.5, "an image keeps the larger part of itself"
    others = fractions.fill_diagonal_(0)
    assert (others.sum(0) > 0).float().mean() > 0.9, "the other images are not always the same few"


@pytest.mark.parametrize(("mixup", "mean"), [(1.0, 0.75), (0.5, 0.5 + 1 / np.pi), (200.0, 0.514)])
def test_fractions_follow_the_beta_distribution_of_the_parameter(pixels, mixup, mean):
    """`mean` is the expected value of max(b, 1 - b) for b drawn from Beta(mixup, mixup)."""
    _, fractions = seen(pixels, mixup)
    assert fractions.diagonal().mean().item() == pytest.approx(mean, abs=0.03)
    assert fractions.diagonal().unique().numel() > IMAGES / 2, "drawn for each image, not for the batch"


def test_a_seed_repeats_the_fractions_and_another_does_not(pixels):
    once, again, other = (seen(pixels, 1.0, seed)[1] for seed in (1, 1, 2))
    assert once.equal(again)
    assert not once.equal(other)
