import dataclasses

import pytest

from cxr_ray.config import FinetuneClipConfig, load_config
from cxr_ray.errors import ConfigError

REQUIRED = {"dataset_uri": "d", "weights_uri": "w", "output_uri": "o"}
FLAGS = ["--dataset-uri", "d", "--weights-uri", "w", "--output-uri", "o"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"epochs": 0}, "epochs must be >= 1; got 0"),
        ({"batch_size": 1}, "batch_size must be >= 2, because the negatives of a pair are the other pairs; got 1"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0; got 0.0"),
        ({"tau": float("nan")}, "tau must be > 0; got nan"),
        ({"beta1": -0.1}, "beta1 must be >= 0; got -0.1"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0; got -1.0"),
        ({"gradient_clip": -1.0}, "gradient_clip must be >= 0; got -1.0"),
        ({"val_fraction": 1.0}, "val_fraction must be above 0 and below 1; got 1.0"),
        ({"warmup": 1.0}, r"warmup must be in \[0, 1\); got 1.0"),
        ({"adam_betas": (0.9, 1.0)}, r"adam_betas must be two numbers in \[0, 1\); got \(0.9, 1.0\)"),
        ({"crop_scale": (0.9, 0.8)}, r"crop_scale must be MIN MAX with 0 < MIN <= MAX <= 1; got \(0.9, 0.8\)"),
        ({"crop_scale": (0.0, 0.8)}, "crop_scale must be MIN MAX"),
        ({"num_workers": "2..1"}, "num_workers must be N or MIN..MAX with 1 <= MIN <= MAX; got '2..1'"),
        ({"max_failures": -1}, "max_failures must be >= 0; got -1"),
        ({"seed": -1}, "seed must be >= 0; got -1"),
        (
            {"class_prompts": {"a": ["x"]}},
            r"class_prompts must be given for two labels or more, or for none; got \['a'\]",
        ),
        (
            {"class_prompts": {"a": ["x"], "b": []}},
            "class_prompts of b must be one or more sentences, none of them empty",
        ),
        ({"class_prompts": {"a": ["x", " "], "b": ["y"]}}, "class_prompts of a must be one or more sentences"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_fix(choice, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        FinetuneClipConfig(**REQUIRED | choice)


def test_defaults_are_the_papers_and_frozen():
    config = FinetuneClipConfig(**REQUIRED)
    assert (config.learning_rate, config.tau, config.beta1, config.beta2) == (1e-6, 0.6, 0.15, 0.15)
    assert (config.adam_betas, config.weight_decay, config.crop_scale) == ((0.9, 0.98), 0.1, (0.9, 1.0))
    assert config.worker_range == (1, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.tau = 1.0


def test_prompts_come_from_a_recipe_or_from_flags(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'crop_scale = [0.8, 1]\n[class_prompts]\nCOVID = ["ground glass"]\nNormal = ["clear", "healthy"]\n'
    )
    config = load_config(FinetuneClipConfig, ["--config", str(recipe), *FLAGS])
    assert config.class_prompts == {"COVID": ["ground glass"], "Normal": ["clear", "healthy"]}
    assert config.crop_scale == (0.8, 1.0)
    recipe.write_text("[class_prompts]\nCOVID = 3\n")
    with pytest.raises(ConfigError, match=r"class_prompts = \{'COVID': 3\} in recipe"):
        load_config(FinetuneClipConfig, ["--config", str(recipe), *FLAGS])
