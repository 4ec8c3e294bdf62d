from pathlib import Path

import pytest

from cxr_ray.config import SegmentConfig, TrainClassifierConfig, TrainSegmenterConfig, load_config
from cxr_ray.config.segmentation import LUNG_PROMPTS
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


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_a_recipe_for_random_weights(name):
    flags = ["--config", str(RECIPES / f"strong_{name}.toml"), "--dataset-uri", "d", "--output-uri", "o"]
    config = load_config(TrainClassifierConfig, flags)
    assert (config.backbone, config.pretrained, config.chosen_schedule) == (name, False, "cosine")
    assert config.early_stopping_patience >= config.epochs, "a cosine that is cut short ends at a high rate"


def test_the_prompts_of_the_lungs_are_those_of_the_job():
    flags = ["--config", str(RECIPES / "segment_lungs.toml")]
    flags += ["--input-uri", "i", "--output-uri", "o", "--clip-uri", "c", "--sam-uri", "s"]
    config = load_config(SegmentConfig, flags)
    assert config.prompts == LUNG_PROMPTS
    assert config == SegmentConfig(input_uri="i", output_uri="o", clip_uri="c", sam_uri="s")


def test_the_student_of_the_lungs():
    flags = ["--config", str(RECIPES / "student_lungs.toml"), "--dataset-uri", "d", "--output-uri", "o"]
    config = load_config(TrainSegmenterConfig, flags)
    assert (config.filters, config.mirrored, config.steps) == ((16, 32, 64, 128, 256, 256), 0.85, 150)
