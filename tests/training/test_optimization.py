import pytest
import timm
import torch

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.learning_rate import cosine_fraction
from cxr_ray.training.optimization import Optimization, parameter_groups


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 1)


def config_of(**options):
    options = {"dataset_uri": "d", "output_uri": "o", "learning_rate": 1e-3} | options
    return TrainClassifierConfig(**options)


def optimization(model, **options):
    return Optimization(model, config_of(**options), images_per_step=32)


def one_step(training, model, progress=0.0, scale=1.0):
    (scale * model(torch.ones(1, 3)).sum()).backward()
    training.step(progress)


def groups_by_name(model, **options):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, config_of(**options))
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}


def test_layers_far_from_the_head_learn_more_slowly_and_norms_and_biases_do_not_decay():
    model = timm.create_model("test_efficientnet", num_classes=3)
    found = groups_by_name(model, layer_decay=0.8, weight_decay=0.1, decay_all=False)
    assert found.keys() == dict(model.named_parameters()).keys()
    rates = [
        found[name]["lr_scale"] for name in ("conv_stem.weight", "blocks.1.0.conv_exp.weight", "classifier.weight")
    ]
    assert rates[0] < rates[1] < rates[2] == 1
    decays = {name: group["weight_decay"] for name, group in found.items()}
    assert decays["conv_stem.weight"] == 0.1
    assert {decays[name] for name in ("bn1.weight", "bn1.bias", "classifier.bias")} == {0.0}
    every = groups_by_name(model, layer_decay=0.8, weight_decay=0.1)
    assert {group["weight_decay"] for group in every.values()} == {0.1}


def test_the_schedule_scales_the_rate_of_each_layer():
    model = timm.create_model("test_efficientnet", num_classes=3)
    training = optimization(model, schedule="cosine", warmup=0.5, layer_decay=0.5)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    training.step(0.9)
    assert training.learning_rate == pytest.approx(1e-3 * cosine_fraction(0.9, 0.5))
    rates = {group["lr"] for group in training.state_dict()["optimizer"]["param_groups"]}
    assert min(rates) < 0.2 * max(rates)


def test_a_step_takes_the_rate_of_its_progress(model):
    training = optimization(model, schedule="cosine", warmup=0.5)
    for progress in (0.9, 0.5, 0.1):
        one_step(training, model, progress)
        assert training.learning_rate == pytest.approx(1e-3 * cosine_fraction(progress, 0.5))


@pytest.mark.parametrize(
    ("losses", "halvings"),
    [
        ([1.0] * 8, 0),
        ([1.0] * 9, 1),
        ([1.0] * 17, 2),
        ([1.0 - 0.01 * epoch for epoch in range(30)], 0),
        ([1.0] * 8 + [0.5] + [1.0] * 7, 0),
        ([1.0] * 8 + [0.5] + [1.0] * 8, 1),
        ([float(epoch) for epoch in range(9)], 1),
    ],
)
def test_plateau_halves_the_rate_at_the_eighth_epoch_in_a_row_without_a_better_loss(model, losses, halvings):
    training = optimization(model, schedule="plateau")
    for loss in losses:
        training.after_epoch(loss)
    assert training.learning_rate == 1e-3 / 2**halvings
    one_step(training, model)
    assert training.learning_rate == 1e-3 / 2**halvings, "a step keeps the rate"


def test_the_validation_loss_does_not_change_the_rate_of_cosine(model):
    training = optimization(model, schedule="cosine")
    for _ in range(30):
        training.after_epoch(1.0)
    assert training.learning_rate == 1e-3


def test_an_update_goes_down_the_gradient_a_steep_one_is_clipped_and_none_is_left(model, monkeypatch):
    training = optimization(model, schedule="plateau", gradient_clip=0.5, weight_decay=0.0)
    seen = []
    adamw = torch.optim.AdamW.step

    def step(self, *arguments):
        seen.append(torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in model.parameters()])).item())
        return adamw(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    before = model.weight.detach().clone()
    one_step(training, model, scale=1e6)
    assert torch.all(model.weight < before)
    assert seen == [pytest.approx(0.5, rel=1e-3)]
    assert all(p.grad is None for p in model.parameters())


def test_the_average_lags_behind_the_weights_and_is_what_is_kept(model):
    assert optimization(model).averaged_model is model
    training = optimization(model, ema_decay=0.9, schedule="plateau")
    before = model.weight.detach().clone()
    for _ in range(20):
        one_step(training, model)
    average = training.averaged_model.weight
    assert torch.all(model.weight < average)
    assert torch.all(average < before)


def test_a_training_that_resumes_with_more_workers_has_the_rate_of_more_workers(model):
    few = optimization(model, schedule="plateau")
    for _ in range(9):
        few.after_epoch(1.0)
    many = Optimization(model, config_of(schedule="plateau"), images_per_step=128)
    many.load_state_dict(few.state_dict())
    assert few.learning_rate == pytest.approx(5e-4)
    assert many.learning_rate == pytest.approx(4 * 5e-4)


@pytest.mark.parametrize("options", [{"schedule": "plateau"}, {"schedule": "cosine", "ema_decay": 0.5}])
def test_a_resumed_training_is_like_one_without_interruption(options):
    def steps(training, model, count):
        for i in range(count):
            (model(torch.ones(1, 3) * (i + 1)).sum() ** 2).backward()
            training.step(i / 10)
            training.after_epoch(1.0)

    torch.manual_seed(0)
    straight = torch.nn.Linear(3, 1)
    broken = torch.nn.Linear(3, 1)
    broken.load_state_dict(straight.state_dict())
    first, second = optimization(straight, **options), optimization(broken, **options)
    steps(first, straight, 10)
    steps(second, broken, 10)
    resumed = torch.nn.Linear(3, 1)
    resumed.load_state_dict(broken.state_dict())
    third = optimization(resumed, **options)
    third.load_state_dict(second.state_dict())
    steps(first, straight, 10)
    steps(third, resumed, 10)
    assert resumed.weight.equal(straight.weight)
    assert third.averaged_model.weight.equal(first.averaged_model.weight)
    assert third.learning_rate == first.learning_rate
