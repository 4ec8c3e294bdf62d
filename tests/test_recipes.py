from pathlib import Path

import pytest

from cxr_ray.config import TrainClassifierConfig, load_config
from cxr_ray.models.backbones import BACKBONES

RECIPES = Path(__file__).parents[1] / "jobs/recipes"


def test_every_backbone_has_its_seed_recipe():
    assert {path.stem for path in RECIPES.glob("seed_*.toml")} == {f"seed_{name}" for name in BACKBONES}


@pytest.mark.parametrize("name", BACKBONES)
def test_the_seed_recipe_is_the_published_one(name):
    flags = ["--config", str(RECIPES / f"seed_{name}.toml"), "--dataset-uri", "d", "--output-uri", "o"]
    config = load_config(TrainClassifierConfig, flags)
    assert (config.backbone, config.pretrained, config.image_size, config.batch_size) == (name, True, 224, 32)
    assert (config.chosen_schedule, config.learning_rate, config.weight_decay) == ("plateau", 1e-4, 0.01)
    assert (config.early_stopping_patience, config.label_smoothing, config.gradient_clip) == (10, 0.0, 0.0)
