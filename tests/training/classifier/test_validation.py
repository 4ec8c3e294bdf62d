from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from cxr_ray.models.grey_input import GreyInput
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.classifier.validation import MISTAKES_SHOWN, score_shard, validation_of
from cxr_ray.training.worker_context import WorkerContext

LABELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def split():
    """101 noisy images of three classes, whose mean grey value depends on the class."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 101)
    pixels = rng.normal(60 + 60 * targets[:, None, None], 60, (101, 4, 4)).clip(0, 255).astype(np.uint8)
    return pixels, targets


class ByLevel(torch.nn.Module):
    """A classifier whose logits depend on the mean grey value of an image."""

    def forward(self, inputs):
        level = inputs[:, 0].mean((1, 2), keepdim=False).unsqueeze(1)
        return -((level - torch.tensor([60.0, 120.0, 180.0])) ** 2) / 500


def shards(split, world_size):
    pixels, targets = split
    to_input = GreyInput((0, 0, 0), (1 / 255,) * 3, torch.device("cpu"), torch.contiguous_format)
    contexts = [WorkerContext(rank=r, world_size=world_size, device=torch.device("cpu")) for r in range(world_size)]
    return [
        score_shard(
            ByLevel(), CachedFeed(PixelCache([pixels]), context, 8).in_order(), targets,
            to_input=to_input, autocast=nullcontext,
        )
        for context in contexts
    ]  # fmt: skip


def test_metrics_are_those_of_scikit_learn(split):
    pixels, targets = split
    found = validation_of(shards(split, 1), targets, LABELS)
    logits = ByLevel()(torch.from_numpy(pixels).float().unsqueeze(1))
    probabilities = logits.double().softmax(1).numpy()
    predicted = probabilities.argmax(1)
    assert found.metrics["val_accuracy"] == pytest.approx(accuracy_score(targets, predicted))
    assert found.metrics["val_loss"] == pytest.approx(log_loss(targets, probabilities), rel=1e-4)
    assert found.metrics["val_macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    expected = roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    assert found.metrics["val_auroc"] == pytest.approx(expected, rel=1e-4)
    assert found.metrics["val_recall_b"] == pytest.approx(np.mean(predicted[targets == 1] == 1))
    assert found.confusion.sum() == 101


@pytest.mark.parametrize("world_size", [2, 5])
def test_any_number_of_workers_gives_the_metrics_of_one(split, world_size):
    one, many = (validation_of(shards(split, n), split[1], LABELS) for n in (1, world_size))
    assert many.metrics == pytest.approx(one.metrics)
    assert many.temperature == pytest.approx(one.temperature, rel=1e-4)
    np.testing.assert_array_equal(many.confusion, one.confusion)
    assert [m.confidence for m in many.mistakes] == pytest.approx([m.confidence for m in one.mistakes])


def test_mistakes_are_the_most_confident_and_are_mistakes(split):
    found = validation_of(shards(split, 3), split[1], LABELS)
    wrong = found.confusion.sum() - np.trace(found.confusion)
    assert len(found.mistakes) == min(wrong, MISTAKES_SHOWN)
    confidences = [mistake.confidence for mistake in found.mistakes]
    assert confidences == sorted(confidences, reverse=True)
    for mistake in found.mistakes:
        assert mistake.truth != mistake.predicted
        assert any((mistake.pixels == image).all() for image in split[0][split[1] == mistake.truth])


def test_an_image_that_is_missing_or_occurs_twice_is_refused(split):
    both = shards(split, 2)
    with pytest.raises(
        ValueError, match="51 images were validated, the split has 101; each must be validated exactly once"
    ):
        validation_of(both[:1], split[1], LABELS)
    with pytest.raises(ValueError, match="102 images"):
        validation_of([both[0], both[0]], split[1], LABELS)


def test_a_class_that_does_not_occur_has_no_recall(split):
    pixels, targets = split
    kept = targets != 2
    found = validation_of(shards((pixels[kept], targets[kept]), 1), targets[kept], LABELS)
    assert np.isnan(found.metrics["val_recall_c"])
    assert np.isfinite(found.metrics["val_macro_f1"])
