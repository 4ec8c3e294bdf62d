import pytest
import torch

from cxr_ray.config import TrainSegmenterConfig
from cxr_ray.models.segmenter_ensemble import member_weights
from cxr_ray.training.segmenter.learner import MaskTargets, SegmenterLearner
from cxr_ray.training.worker_context import WorkerContext

OPTIONS = {
    "image_size": 32, "filters": (4, 8, 8), "epochs": 2, "cycles": 2, "deep_supervision": 1, "warmup": 0.0,
    "precision": "fp32",
}  # fmt: skip


def make_learner(seed=0):
    torch.manual_seed(seed)
    config = TrainSegmenterConfig(dataset_uri="d", output_uri="o", **OPTIONS)
    return SegmenterLearner(config, context=WorkerContext(rank=0, world_size=1, device=torch.device("cpu")))


def batches(weights=(1.0, 1.0)):
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):
        inputs = torch.randn(2, 1, 32, 32, generator=generator)
        yield inputs, MaskTargets(masks=(inputs > 0).float(), weights=torch.tensor(weights))


def test_a_resumed_learner_trains_like_one_without_interruption():
    straight, broken = make_learner(), make_learner()
    for learner in (straight, broken):
        learner.train_epoch(batches(), epoch=1, steps=2)
        learner.keep_member()
    resumed = make_learner(seed=99)
    resumed.load_state_dict(broken.state_dict())
    for learner in (straight, resumed):
        learner.train_epoch(batches(), epoch=2, steps=2)
        learner.keep_member()
    assert len(resumed.members) == 2
    for found, expected in zip(resumed.members, straight.members, strict=True):
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, msg=name)


def test_momenta_are_saved_in_the_order_of_the_named_weights():
    """Checkpoints of earlier versions have this order, which is not the order of `network.parameters()`."""
    learner = make_learner()
    learner.train_epoch(batches(), epoch=1, steps=2)
    state = learner.state_dict()
    momenta = [momentum["momentum_buffer"].shape for _, momentum in sorted(state["optimizer"]["state"].items())]
    assert momenta == [weight.shape for weight in state["network"].values()]
    assert momenta != [parameter.shape for parameter in learner.network.parameters()]


def test_a_member_stays_as_it_was_when_it_joined():
    learner = make_learner()
    learner.keep_member()
    before = member_weights(learner.network)
    learner.train_epoch(batches(), epoch=1, steps=2)
    assert all(learner.members[0][name].equal(tensor) for name, tensor in before.items())
    assert not all(member_weights(learner.network)[name].equal(tensor) for name, tensor in before.items())


def test_the_rate_falls_to_nothing_in_every_cycle():
    learner = make_learner()
    rates = []
    for epoch in (1, 2):
        learner.train_epoch(batches(), epoch=epoch, steps=2)
        rates.append(learner.learning_rate)
    assert rates == pytest.approx([learner.config.learning_rate / 2] * 2)  # the rate in the middle of each cycle


def test_a_mask_that_is_not_trusted_teaches_nothing():
    learner = make_learner()
    before = member_weights(learner.network)
    loss, seen = learner.train_epoch(batches(weights=(0.0, 0.0)), epoch=1, steps=2)
    assert (loss, seen) == (0.0, 4)
    decay = 1 - learner.config.learning_rate * learner.config.weight_decay
    for name, tensor in member_weights(learner.network).items():
        torch.testing.assert_close(tensor, before[name], rtol=1 - decay**8, atol=1e-6)
