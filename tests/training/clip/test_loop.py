"""Epochs of a fine-tuning of BiomedCLIP, run without Ray."""

import copy

import numpy as np
import pytest
import torch

from cxr_ray.config import FinetuneClipConfig
from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.clip.learner import ClipLearner
from cxr_ray.training.clip.loop import run_epoch
from cxr_ray.training.clip.split_pairs import SplitPairs
from cxr_ray.training.clip.task import ClipTask
from cxr_ray.training.clip.token_table import TokenTable
from cxr_ray.training.learning_rate import cosine_fraction
from cxr_ray.training.worker_context import WorkerContext

TINY = BiomedClipConfig(
    vision_hidden=32, vision_layers=1, vision_heads=2, vision_mlp=32, image_size=32, text_hidden=32, text_layers=1,
    text_heads=2, text_mlp=32, vocab_size=40, text_positions=16, context=16, projection=16, text_projection_hidden=16,
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, because several would wait for each other longer than they compute on batches this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pairs_of(images):
    return SplitPairs(pixels=images, images=images, captions=images, labels=images % 2)


def a_training(seed=0, prompts=None):
    """Make task, learner, feeds and tokens of a fine-tuning on 12 pairs, of which 4 are validated."""
    config = FinetuneClipConfig(
        dataset_uri="d", weights_uri="w", output_uri="o", epochs=4, batch_size=4, learning_rate=1e-3, warmup=0.0,
        precision="fp32",
    )  # fmt: skip
    pairs = {"train": pairs_of(np.arange(8)), "val": pairs_of(np.arange(8, 12))}
    task = ClipTask(
        config=config, pairs=pairs, pixels=[], tokens=None, prompts=prompts or {}, dataset_fingerprint="f", threads=1,
        listener=None,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (12, 32, 32), dtype=np.uint8)
    lengths = rng.integers(3, 9, 14)
    tokens = TokenTable(token_ids=rng.integers(5, 40, lengths.sum()).astype(np.int32), ends=lengths.cumsum())
    context = WorkerContext(rank=0, world_size=1, device=torch.device("cpu"))
    torch.manual_seed(seed)
    learner = ClipLearner(config, BiomedClip(TINY), context=context)
    feeds = {split: CachedFeed(PixelCache([pixels], of.pixels), context, 4) for split, of in pairs.items()}
    return task, learner, feeds, tokens


def test_an_epoch_reports_its_loss_its_rate_and_the_retrieval_of_the_val_split():
    training = a_training()
    metrics = [run_epoch(*training, epoch).report.metrics for epoch in (1, 2)]
    assert [one["epoch"] for one in metrics] == [1, 2]
    # The training has four epochs of two steps each.
    rates = [1e-3 * cosine_fraction(progress, 0.0) for progress in (1 / 8, 3 / 8)]
    assert [one["learning_rate"] for one in metrics] == pytest.approx(rates)
    assert {"train_loss", "val_loss", "val_recall_at_1", "val_text_to_image_at_5"} <= metrics[0].keys()
    assert metrics[0]["val_image_to_text_at_5"] == 1, "of four captions the right one is among the first five"
    assert "val_zero_shot_accuracy" not in metrics[0]


def test_classes_with_prompts_are_classified_without_training():
    prompts = {"even": np.array([12]), "odd": np.array([13])}
    accuracy = run_epoch(*a_training(prompts=prompts), 1).report.metrics["val_zero_shot_accuracy"]
    assert accuracy in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_an_epoch_that_is_run_again_repeats_itself():
    """Crops, order and dropout repeat, even if other random numbers are drawn in between."""
    training = a_training()
    run_epoch(*training, 1)
    state = copy.deepcopy(training[1].state_dict())
    straight = run_epoch(*training, 2).report.metrics
    again = a_training(seed=99)
    again[1].load_state_dict(state)
    torch.rand(5)
    repeated = run_epoch(*again, 2).report.metrics
    for name in ("train_loss", "val_loss", "learning_rate"):
        assert repeated[name] == pytest.approx(straight[name], rel=1e-5), name


def test_an_epoch_whose_features_are_no_finite_numbers_has_no_result():
    task, learner, feeds, tokens = a_training()
    with torch.no_grad():
        next(learner.model.vision.parameters()).fill_(float("nan"))
    assert run_epoch(task, learner, feeds, tokens, 1) is None
