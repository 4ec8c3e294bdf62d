"""The learner of a classifier on one worker and on two workers."""

import socket

import numpy as np
import pytest
import torch
from torch import multiprocessing

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.config.backbones import BACKBONES
from cxr_ray.models.backbones import classifier_head
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.classifier.learner import ClassifierLearner
from cxr_ray.training.classifier.views import TrainingViews, augmentation_of
from cxr_ray.training.worker_context import WorkerContext

ALONE = WorkerContext(rank=0, world_size=1, device=torch.device("cpu"))
IMAGES, CLASSES, SIZE = 16, 3, 32


def make_learner(context=ALONE, *, weights=(0.5, 1.0, 1.5), **options):
    options = {"backbone": "vit_b16", "precision": "fp32", "epochs": 1, "weight_decay": 0.0} | options
    config = TrainClassifierConfig(dataset_uri="d", output_uri="o", image_size=SIZE, flip=0.0, **options)
    torch.manual_seed(0)
    return ClassifierLearner(config, classes=CLASSES, class_weights=torch.tensor(weights), context=context)


def batches(learner):
    """Make the batches of one epoch as the training loop does."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, CLASSES, IMAGES)
    pixels = rng.integers(0, 255, (IMAGES, SIZE, SIZE), dtype=np.uint8)
    views = TrainingViews(
        to_input=learner.to_input, augmentation=augmentation_of(learner.config), classes=CLASSES, mixup=0.0,
        generator=torch.Generator().manual_seed(0), mixup_generator=rng,
    )  # fmt: skip
    feed = CachedFeed(PixelCache([pixels]), learner.context, learner.config.batch_size)
    for batch in feed.shuffled(5):
        yield views(batch.pixels, targets[batch.positions])


def gradients(learner):
    """Return the gradients of the first step, before the optimizer clips them."""
    seen = {}

    def keep(_progress):
        seen.update({name: p.grad.clone() for name, p in learner.model.named_parameters()})

    learner.optimization.step = keep
    learner.train_epoch(batches(learner), epoch=1, steps=1)
    return seen


WAYS = {"plain": {"batch_size": 8}, "accumulated": {"batch_size": 4, "accumulate": 2}}
"""Options by which two workers have a global batch of 16 images."""


def worker(rank, port, path):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    context = WorkerContext(rank=rank, world_size=2, device=torch.device("cpu"))
    found = {way: gradients(make_learner(context, **options)) for way, options in WAYS.items()}
    if context.is_first:
        torch.save(found, path)
    torch.distributed.destroy_process_group()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_workers_have_the_gradients_of_one_at_the_same_global_batch(tmp_path):
    """The backbone is a ViT, because other backbones have batch statistics, which differ between workers."""
    expected = gradients(make_learner(batch_size=16))
    path = tmp_path / "gradients.pt"
    multiprocessing.set_forkserver_preload(["cxr_ray.training.classifier.learner"])
    multiprocessing.start_processes(worker, (free_port(), path), nprocs=2, start_method="forkserver")
    for way, found in torch.load(path, weights_only=True).items():
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6, msg=f"{way} {name}")


def test_only_the_head_learns_while_the_rest_is_frozen():
    learner = make_learner(backbone="efficientnet_b0", batch_size=8, freeze_epochs=1, epochs=2, ema_decay=0.5)
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    learner.train_epoch(batches(learner), epoch=1, steps=2)
    changed = {name for name, tensor in learner.model.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    learner.train_epoch(batches(learner), epoch=2, steps=2)
    assert not learner.model.conv_stem.weight.equal(before["conv_stem.weight"])
    assert not learner.model.bn1.running_mean.equal(before["bn1.running_mean"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_learns_its_head_first_and_then_all_of_it(backbone, precision):
    learner = make_learner(backbone=backbone, precision=precision, batch_size=8, freeze_epochs=1, epochs=2)
    head = {id(parameter) for parameter in classifier_head(learner.model).parameters()}
    before = {name: parameter.detach().clone() for name, parameter in learner.model.named_parameters()}

    def changed():
        return {name for name, now in learner.model.named_parameters() if not now.equal(before[name])}

    assert learner.train_epoch(batches(learner), epoch=1, steps=2)[1] == IMAGES
    assert changed() == {name for name, parameter in learner.model.named_parameters() if id(parameter) in head}
    assert np.isfinite(learner.train_epoch(batches(learner), epoch=2, steps=2)[0])
    assert len(changed()) > 0.9 * len(before)


def test_pixels_are_normalised_as_the_starting_weights_need_it(save_random, tmp_path):
    save_random(tmp_path, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    learner = make_learner(backbone="efficientnet_b0", weights_uri=str(tmp_path))
    black = learner.to_input(np.zeros((1, SIZE, SIZE), np.uint8))[0, :, 0, 0]
    torch.testing.assert_close(black, torch.tensor([-0.1 / 0.4, -0.2 / 0.5, -0.3 / 0.6]))
    assert make_learner(backbone="efficientnet_lite0").normalisation.std == (0.5, 0.5, 0.5)


def test_dropout_and_stochastic_depth_are_those_of_the_config():
    learner = make_learner(backbone="efficientnet_lite0", dropout=0.25, drop_path=0.2)
    assert learner.model.drop_rate == 0.25
    skipped = [module.drop_prob for module in learner.model.modules() if type(module).__name__ == "DropPath"]
    assert 0 < min(skipped) < max(skipped) < 0.21
    plain = make_learner(backbone="efficientnet_lite0")
    assert not any(type(module).__name__ == "DropPath" for module in plain.model.modules())


def test_the_loss_is_the_cross_entropy_with_smoothing_and_class_weights():
    learner = make_learner(backbone="efficientnet_b0", label_smoothing=0.2)
    logits, targets = torch.randn(6, CLASSES), torch.tensor([0, 1, 2, 2, 1, 0])
    plain = torch.nn.CrossEntropyLoss(label_smoothing=0.2, reduction="none")(logits, targets)
    expected = (plain * torch.tensor([0.5, 1.0, 1.5])[targets]).mean()
    found = learner._loss(logits, torch.nn.functional.one_hot(targets, CLASSES).float())
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_a_resumed_learner_trains_like_one_without_interruption():
    options = {"backbone": "efficientnet_b0", "batch_size": 8, "epochs": 2, "ema_decay": 0.9}
    straight, broken = make_learner(**options), make_learner(**options)
    for learner in (straight, broken):
        torch.manual_seed(1)
        learner.train_epoch(batches(learner), epoch=1, steps=2)
    resumed = make_learner(**options, seed=99)
    resumed.load_state_dict(broken.state_dict())
    for learner in (straight, resumed):
        torch.manual_seed(2)
        learner.train_epoch(batches(learner), epoch=2, steps=2)
    for name, tensor in straight.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, msg=name)
    for name, tensor in straight.optimization.averaged_model.state_dict().items():
        torch.testing.assert_close(resumed.optimization.averaged_model.state_dict()[name], tensor, msg=name)
