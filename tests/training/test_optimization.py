import pytest
import torch

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.optimization import Optimization, peak_learning_rate


@pytest.fixture
def model():
    return torch.nn.Linear(3, 1)


def optimization(model, schedule, *, steps=10, **options):
    options = {"dataset_uri": "d", "output_uri": "o", "schedule": schedule, "learning_rate": 1e-3} | options
    return Optimization(model, TrainClassifierConfig(**options), steps=steps)


def cycle(model, steps):
    """Rates of all steps, and the one after them."""
    training = optimization(model, "onecycle", steps=steps)
    rates = []
    for _ in range(steps):
        rates.append(training.learning_rate)
        training.update(model(torch.ones(1, 3)).sum())
    return [*rates, training.learning_rate]


def test_one_cycle_rises_for_a_third_and_ends_near_zero(model):
    rates = cycle(model, 100)
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1e-3, rel=1e-2)
    assert 25 <= peak <= 33
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] < 1e-4
    assert rates[-1] < 1e-7


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_cycle_of_a_few_steps_ends_near_zero_as_well(model, steps):
    assert cycle(model, steps)[-1] < 1e-7


def test_one_cycle_takes_no_notice_of_epochs(model):
    training = optimization(model, "onecycle")
    before = training.learning_rate
    for _ in range(20):
        training.after_epoch(9.0)
    assert training.learning_rate == before


def test_plateau_halves_when_more_than_seven_epochs_bring_nothing(model):
    training = optimization(model, "plateau")
    training.after_epoch(1.0)
    for _ in range(7):
        training.after_epoch(1.0)
        assert training.learning_rate == 1e-3
    training.after_epoch(1.0)
    assert training.learning_rate == 5e-4


def test_plateau_holds_while_the_loss_falls_and_takes_no_notice_of_steps(model):
    training = optimization(model, "plateau")
    for epoch in range(30):
        training.update(model(torch.ones(1, 3)).sum())
        training.after_epoch(1 / (epoch + 1))
    assert training.learning_rate == 1e-3


def test_an_update_goes_down_the_gradient_and_a_steep_one_is_clipped(model):
    training = optimization(model, "plateau", gradient_clip=0.5, weight_decay=0.0)
    before = model.weight.detach().clone()
    training.update(1e6 * model(torch.ones(1, 3)).sum())
    assert torch.all(model.weight < before)
    norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert norm == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("choice", "schedule", "rate"),
    [
        ({}, "onecycle", 3e-3),
        ({"backbone": "vit_b16"}, "onecycle", 3e-4),
        ({"pretrained": True}, "plateau", 1e-4),
        ({"pretrained": True, "schedule": "onecycle"}, "onecycle", 3e-3),
        ({"schedule": "plateau", "learning_rate": 0.5}, "plateau", 0.5),
    ],
)
def test_schedule_and_rate_suit_the_weights(choice, schedule, rate):
    config = TrainClassifierConfig(dataset_uri="d", output_uri="o", **choice)
    assert (config.chosen_schedule, peak_learning_rate(config)) == (schedule, rate)
