"""The config of a plan and its price list."""

from pathlib import Path

import pytest

from cxr_ray.config import PlanConfig, load_config
from cxr_ray.config.planning import Machine
from cxr_ray.errors import ConfigError

RECIPE = Path(__file__).parents[2] / "jobs/recipes/price_list.toml"
FLAGS = ["--manifest-uri", "m.parquet", "--model-uri", "a", "b"]


def plan(**choice):
    return PlanConfig(**{"manifest_uri": "m.parquet", "model_uri": ("a",)} | choice)


def test_a_price_list_is_read_from_a_recipe(tmp_path):
    recipe = tmp_path / "prices.toml"
    recipe.write_text("hours = 8\n[machines.big]\ncpus = 16\ngpus = 1\ndollars_per_hour = 1.5\ngpu_factor = 2\n")
    config = load_config(PlanConfig, ["--config", str(recipe), *FLAGS])
    assert config.model_uri == ("a", "b")
    assert config.price_list() == (Machine(name="big", cpus=16, gpus=1, dollars_per_hour=1.5, gpu_factor=2),)


def test_the_price_list_of_the_recipes_is_accepted():
    config = load_config(PlanConfig, ["--config", str(RECIPE), *FLAGS])
    assert {machine.gpus for machine in config.price_list()} == {0, 1}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"model_uri": ()}, r"model_uri must be at least one model bundle; got \(\)"),
        ({"hours": 0.0}, "hours must be > 0 and finite; got 0.0"),
        ({"sample_images": 15}, "sample_images must be >= 16; got 15"),
        ({"seed": -1}, "seed must be >= 0; got -1"),
        ({"batch_size": 0}, "batch_size must be >= 1; got 0"),
        ({"machines": {"m": {"gpus": 1}}}, "cpus of machine m must be given; got None"),
        ({"machines": {"m": {"cpu": 1}}}, "machine m has an unknown key 'cpu'; known keys: cpu_factor, cpus"),
        ({"machines": {"m": {"cpus": 0}}}, "cpus of machine m must be > 0 and finite; got 0"),
        ({"machines": {"m": {"cpus": 4, "gpus": 0.5}}}, "gpus of machine m must be a whole number >= 0; got 0.5"),
        ({"machines": {"m": {"cpus": 4, "dollars_per_hour": -1}}}, "dollars_per_hour of machine m must be >= 0"),
    ],
)
def test_a_bad_value_is_named(choice, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        plan(**choice)
