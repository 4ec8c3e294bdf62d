"""The learner of BiomedCLIP on one worker and on two workers."""

import socket
from io import BytesIO

import numpy as np
import pytest
import torch
from torch import multiprocessing

from cxr_ray.config import FinetuneClipConfig
from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig
from cxr_ray.models.dhn_nce import dhn_nce_loss
from cxr_ray.training.augmentation import RandomResizedCrop
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.clip.feature_gather import gather_features
from cxr_ray.training.clip.learner import ClipLearner
from cxr_ray.training.clip.split_pairs import SplitPairs, same_pairs
from cxr_ray.training.clip.token_table import TokenTable
from cxr_ray.training.clip.views import PairViews
from cxr_ray.training.learning_rate import cosine_fraction
from cxr_ray.training.worker_context import WorkerContext

ALONE = WorkerContext(rank=0, world_size=1, device=torch.device("cpu"))
PAIRS, CAPTIONS, SIZE, WORDS = 16, 12, 32, 40
TINY = BiomedClipConfig(
    vision_hidden=32, vision_layers=2, vision_heads=2, vision_mlp=64, image_size=SIZE, text_hidden=32, text_layers=2,
    text_heads=2, text_mlp=64, vocab_size=WORDS, text_positions=16, context=16, projection=24,
    text_projection_hidden=28,
)  # fmt: skip


def make_learner(context=ALONE, *, seed=0, dropout=0.0, **options):
    options = {"precision": "fp32", "epochs": 1, "batch_size": 8, "learning_rate": 1e-3} | options
    config = FinetuneClipConfig(dataset_uri="d", weights_uri="w", output_uri="o", **options)
    torch.manual_seed(seed)
    model = BiomedClip(TINY)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return ClipLearner(config, model, context=context)


def batches(learner, crop=None):
    """Make the batches of one epoch as the training loop does; captions differ in length, and some repeat."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (PAIRS, SIZE, SIZE), dtype=np.uint8)
    lengths = rng.integers(3, 9, CAPTIONS)
    tokens = TokenTable(token_ids=rng.integers(5, WORDS, lengths.sum()).astype(np.int32), ends=lengths.cumsum())
    numbers = np.arange(PAIRS)
    pairs = SplitPairs(pixels=numbers, images=numbers, captions=numbers % CAPTIONS, labels=numbers)
    views = PairViews(
        to_input=learner.to_input, pairs=pairs, tokens=tokens, crop=crop, generator=torch.Generator().manual_seed(0)
    )
    return views(CachedFeed(PixelCache([pixels]), learner.context, learner.config.batch_size).shuffled(5))


def first_step(learner):
    """Return loss and gradients of the first step, before the optimizer clips the gradients."""
    seen = {}

    def keep(_progress):
        seen.update({name: p.grad.clone() for name, p in learner.model.named_parameters() if p.requires_grad})

    learner.step = keep
    loss, _ = learner.train_epoch(batches(learner), epoch=1, steps=1)
    return {"loss": torch.tensor(loss)} | seen


def worker(rank, port, path):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    context = WorkerContext(rank=rank, world_size=2, device=torch.device("cpu"))
    found = first_step(make_learner(context))
    features = (torch.arange(6.0).view(2, 3) + 10 * rank).requires_grad_()
    gathered = gather_features(features, context)
    (gathered * torch.arange(12.0).view(4, 3)).sum().backward()
    torch.save({"step": found, "gathered": gathered.detach(), "gradient": features.grad}, path / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def results_of_two_workers(tmp_path_factory):
    """Losses, gradients and features of each of two workers."""
    path = tmp_path_factory.mktemp("workers")
    multiprocessing.set_forkserver_preload(["cxr_ray.training.clip.learner"])
    multiprocessing.start_processes(worker, (free_port(), path), nprocs=2, start_method="forkserver")
    return [torch.load(path / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_two_workers_have_the_gradients_of_one_at_the_same_global_batch(results_of_two_workers):
    """Losses and gradients agree within a thousandth, because sums over a batch are computed in another order."""
    expected = first_step(make_learner(batch_size=16))
    assert any(gradient.abs().max() > 1e-3 for name, gradient in expected.items() if name != "loss")
    for found in results_of_two_workers:
        assert found["step"].keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found["step"][name], value, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.slow
def test_features_are_gathered_in_the_order_of_ranks_and_their_gradient_comes_back_to_their_own(results_of_two_workers):
    """The gradient is doubled, because it is then averaged over the two workers."""
    weights = torch.arange(12.0).view(2, 2, 3)
    for rank, found in enumerate(results_of_two_workers):
        assert found["gathered"][:, 0].tolist() == [0, 3, 10, 13]
        torch.testing.assert_close(found["gradient"], 2 * weights[rank])


def test_every_trainable_parameter_learns_and_the_logit_scale_does_not():
    gradients = first_step(make_learner())
    assert "logit_scale" not in gradients
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    names = {name for name, parameter in make_learner().model.named_parameters() if parameter.requires_grad}
    assert gradients.keys() - {"loss"} == names


def test_the_loss_is_dhn_nce_with_the_settings_asked_for():
    learner = make_learner(batch_size=16, tau=0.3, beta1=0.5, beta2=0.25)
    (batch,) = batches(learner)
    learner.model.eval()
    with torch.no_grad():
        features = learner.model.encode_image(batch.pixels), learner.model.encode_text(batch.token_ids)
        same = same_pairs(batch.identities)
        expected = dhn_nce_loss(*features, tau=0.3, beta1=0.5, beta2=0.25, same=same)
    assert same.sum() > PAIRS, "some captions repeat"
    assert first_step(learner)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_step_takes_the_rate_of_its_progress():
    learner = make_learner(warmup=0.25, epochs=2)
    learner.train_epoch(batches(learner), epoch=2, steps=2)
    assert learner.learning_rate == pytest.approx(1e-3 * cosine_fraction(0.75, 0.25))


def test_pairs_are_learned():
    learner = make_learner(batch_size=16, epochs=30, warmup=0.1)
    losses = [learner.train_epoch(batches(learner), epoch=epoch, steps=1)[0] for epoch in range(1, 31)]
    assert losses[-1] < losses[0] - 1


def test_crops_change_the_pixels_and_nothing_else():
    learner = make_learner(batch_size=16)
    (plain,), (cropped,) = batches(learner), batches(learner, RandomResizedCrop(scale=(0.5, 0.6)))
    assert plain.pixels.shape == cropped.pixels.shape == (16, 3, SIZE, SIZE)
    assert not plain.pixels.allclose(cropped.pixels)
    assert plain.token_ids.equal(cropped.token_ids)
    np.testing.assert_array_equal(plain.positions, cropped.positions)


def test_a_resumed_learner_trains_like_one_without_interruption():
    straight, broken = (make_learner(epochs=2, dropout=0.1) for _ in range(2))
    for learner in (straight, broken):
        torch.manual_seed(1)
        learner.train_epoch(batches(learner), epoch=1, steps=2)
    resumed = make_learner(epochs=2, dropout=0.1, seed=99)
    written = BytesIO()
    torch.save(broken.state_dict(), written)
    written.seek(0)
    resumed.load_state_dict(torch.load(written, weights_only=True))
    for learner in (straight, resumed):
        torch.manual_seed(2)
        learner.train_epoch(batches(learner), epoch=2, steps=2)
    for name, tensor in straight.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, msg=name)
