import pytest

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.learning_rate import cosine_fraction, peak_learning_rate


def config_of(**options):
    return TrainClassifierConfig(**{"dataset_uri": "d", "output_uri": "o", "learning_rate": 1e-3} | options)


def test_cosine_rises_for_the_warm_up_and_ends_at_zero():
    fractions = [cosine_fraction(i / 100, 0.3) for i in range(101)]
    assert fractions[0] == pytest.approx(0.04)
    assert max(fractions) == fractions[30] == pytest.approx(1)
    assert fractions[:31] == sorted(fractions[:31])
    assert fractions[30:] == sorted(fractions[30:], reverse=True)
    assert fractions[100] == pytest.approx(0, abs=1e-12)
    assert cosine_fraction(0.0, 0.0) == 1.0


@pytest.mark.parametrize(
    ("choice", "schedule", "rate"),
    [
        ({}, "cosine", 3e-3),
        ({"backbone": "vit_b16"}, "cosine", 3e-4),
        ({"pretrained": True}, "plateau", 1e-4),
        ({"weights_uri": "w"}, "plateau", 1e-4),
        ({"pretrained": True, "schedule": "cosine"}, "cosine", 3e-3),
        ({"schedule": "plateau", "learning_rate": 0.5}, "plateau", 0.5),
    ],
)
def test_schedule_and_rate_suit_the_weights(choice, schedule, rate):
    config = config_of(**{"learning_rate": None} | choice)
    assert (config.chosen_schedule, peak_learning_rate(config, 32)) == (schedule, rate)


def test_the_rate_grows_with_the_images_per_step_unless_scaling_is_switched_off():
    assert peak_learning_rate(config_of(), 128) == pytest.approx(4e-3)
    assert peak_learning_rate(config_of(scale_learning_rate=False), 128) == 1e-3
