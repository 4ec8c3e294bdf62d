from contextlib import nullcontext

import numpy as np
import pytest
import torch

from cxr_ray.config import FinetuneClipConfig
from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig, clip_input
from cxr_ray.models.dhn_nce import dhn_nce_loss
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.clip.split_pairs import SplitPairs, same_pairs
from cxr_ray.training.clip.token_table import TokenTable
from cxr_ray.training.clip.validation import class_features, encode_shard, validation_metrics
from cxr_ray.training.clip.views import PairViews
from cxr_ray.training.worker_context import WorkerContext

PAIRS = 21
CONFIG = FinetuneClipConfig(dataset_uri="d", weights_uri="w", output_uri="o", batch_size=8)
TINY = BiomedClipConfig(
    vision_hidden=32, vision_layers=1, vision_heads=2, vision_mlp=32, image_size=32, text_hidden=32, text_layers=1,
    text_heads=2, text_mlp=32, vocab_size=40, text_positions=16, context=16, projection=16, text_projection_hidden=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return BiomedClip(TINY)


@pytest.fixture(scope="module")
def pairs():
    """Pairs that hold every image twice and seven captions; a third of the images has no label."""
    numbers = np.arange(PAIRS)
    return SplitPairs(pixels=numbers // 2, images=numbers // 2, captions=numbers % 7, labels=numbers // 2 % 3 - 1)


@pytest.fixture(scope="module")
def tokens():
    lengths = np.arange(3, 12)
    ids = np.random.default_rng(1).integers(5, 40, lengths.sum())
    return TokenTable(token_ids=ids.astype(np.int32), ends=lengths.cumsum())


def shards(model, pairs, tokens, world_size):
    pixels = np.random.default_rng(0).integers(0, 255, (11, 32, 32), dtype=np.uint8)
    views = PairViews(to_input=clip_input(torch.device("cpu")), pairs=pairs, tokens=tokens)
    contexts = [
        WorkerContext(rank=rank, world_size=world_size, device=torch.device("cpu")) for rank in range(world_size)
    ]
    feeds = [CachedFeed(PixelCache([pixels], pairs.pixels), context, 4) for context in contexts]
    return [encode_shard(model, views(feed.in_order()), autocast=nullcontext) for feed in feeds]


@pytest.mark.parametrize("world_size", [2, 5, 30])
def test_any_number_of_workers_gives_the_metrics_of_one(model, pairs, tokens, world_size):
    classes = class_features(model, tokens, [np.array([7]), np.array([8])], autocast=nullcontext)
    one, many = (validation_metrics(shards(model, pairs, tokens, n), pairs, CONFIG, classes) for n in (1, world_size))
    assert many == pytest.approx(one, rel=1e-5)
    assert {"val_loss", "val_recall_at_1", "val_text_to_image_at_10", "val_zero_shot_accuracy"} <= one.keys()
    assert "val_zero_shot_accuracy" not in validation_metrics(shards(model, pairs, tokens, 1), pairs, CONFIG, None)


def test_the_loss_is_that_of_batches_of_the_training_size(model, pairs, tokens):
    (shard,) = shards(model, pairs, tokens, 1)
    images, texts = torch.from_numpy(shard.images), torch.from_numpy(shard.texts)
    drawn = np.random.default_rng(0).permutation(PAIRS)
    halves = [
        (dhn_nce_loss(images[h], texts[h], same=same_pairs(torch.from_numpy(pairs.identities[h]))).item(), len(h))
        for h in np.array_split(drawn, 2)
    ]
    expected = sum(loss * count for loss, count in halves) / PAIRS
    found = validation_metrics([shard], pairs, CONFIG, None)["val_loss"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_zero_shot_counts_each_labelled_image_once(model, pairs, tokens):
    (shard,) = shards(model, pairs, tokens, 1)
    classes = class_features(model, tokens, [np.array([0, 1]), np.array([8])], autocast=nullcontext)
    np.testing.assert_allclose(np.linalg.norm(classes, axis=1), 1, rtol=1e-5)
    labelled = [image for image in range(11) if image % 3]
    hits = [np.argmax(shard.images[2 * image] @ classes.T) == image % 3 - 1 for image in labelled]
    found = validation_metrics([shard], pairs, CONFIG, classes)["val_zero_shot_accuracy"]
    assert found == pytest.approx(np.mean(hits))


def test_the_feature_of_a_class_is_the_mean_of_normalised_prompts(model, tokens):
    (found,) = class_features(model, tokens, [np.array([2, 5])], autocast=nullcontext)
    with torch.no_grad():
        one, two = (model.encode_text(tokens.take(np.array([number]))) for number in (2, 5))
    torch.testing.assert_close(torch.from_numpy(found), torch.nn.functional.normalize(one + two)[0])


def test_a_pair_that_is_missing_or_occurs_twice_is_refused(model, pairs, tokens):
    first, second = shards(model, pairs, tokens, 2)
    with pytest.raises(ValueError, match="11 pairs were validated, the split has 21"):
        validation_metrics([first], pairs, CONFIG, None)
    with pytest.raises(ValueError, match="32 pairs were validated"):
        validation_metrics([first, second, first], pairs, CONFIG, None)


def test_a_feature_that_is_no_number_is_noticed(model, pairs, tokens):
    (shard,) = shards(model, pairs, tokens, 1)
    assert shard.is_finite
    shard.texts[3, 2] = np.nan
    assert not shard.is_finite
