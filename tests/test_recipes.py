from pathlib import Path

import pytest

from cxr_ray.config import (
    EvaluateSegmenterConfig,
    SegmentConfig,
    TrainClassifierConfig,
    TrainSegmenterConfig,
    load_config,
)
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.config.backbones import BACKBONES
from cxr_ray.config.segmentation import LUNG_PROMPTS

RECIPES = Path(__file__).parents[1] / "jobs/recipes"
SEED, STRONG, FINETUNE = (
    sorted(path.stem for path in RECIPES.glob(f"{kind}_*.toml")) for kind in ("seed", "strong", "finetune")
)
PUBLISHED = {"vit_b16", "resnet50", "efficientnet_b0", "densenet121"}


def recipe(name, *flags):
    path = str(RECIPES / f"{name}.toml")
    return load_config(TrainClassifierConfig, ["--config", path, "--dataset-uri", "d", "--output-uri", "o", *flags])


@pytest.mark.parametrize("kind", ["seed", "strong"])
def test_each_backbone_that_was_measured_has_its_recipes(kind):
    assert {f"{kind}_{name}" for name in PUBLISHED} <= {*SEED, *STRONG}


@pytest.mark.parametrize("name", SEED)
def test_the_seed_recipe_is_the_published_one(name):
    config = recipe(name)
    assert f"seed_{config.backbone}" == name
    assert (config.pretrained, config.image_size, config.batch_size) == (True, 224, 32)
    assert (config.chosen_schedule, config.learning_rate, config.weight_decay) == ("plateau", 1e-4, 0.01)
    assert (config.early_stopping_patience, config.label_smoothing, config.gradient_clip) == (10, 0.0, 0.0)


@pytest.mark.parametrize("name", STRONG)
def test_the_strong_recipe_is_for_random_weights(name):
    config = recipe(name)
    assert f"strong_{config.backbone}" == name
    assert (config.pretrained, config.chosen_schedule) == (False, "cosine")
    assert config.learning_rate == BACKBONES[config.backbone].scratch_rate
    assert config.early_stopping_patience >= config.epochs, "a cosine that is cut short ends at a high rate"


@pytest.mark.parametrize("name", FINETUNE)
def test_the_recipe_for_fine_tuning_treads_softly(name):
    config = recipe(name, "--weights-uri", "w")
    assert f"finetune_{config.backbone}" == name
    assert config.chosen_schedule == "cosine"
    assert config.learning_rate < BACKBONES[config.backbone].scratch_rate
    assert config.layer_decay < 1
    assert not config.decay_all
    assert config.dropout > 0
    assert config.early_stopping_patience >= config.epochs


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", [*SEED, *STRONG])
def test_a_recipe_serves_any_backbone_of_the_table(name, backbone):
    config = recipe(name, "--backbone", backbone)
    assert (config.backbone, config.epochs) == (backbone, recipe(name).epochs)


def test_the_prompts_of_the_lungs_are_those_of_the_job():
    flags = ["--config", str(RECIPES / "segment_lungs.toml")]
    flags += ["--input-uri", "i", "--output-uri", "o", "--clip-uri", "c", "--sam-uri", "s"]
    config = load_config(SegmentConfig, flags)
    assert config.prompts == LUNG_PROMPTS
    assert config == SegmentConfig(input_uri="i", output_uri="o", clip_uri="c", sam_uri="s")


def test_the_segmenter_of_the_lungs():
    flags = ["--config", str(RECIPES / "student_lungs.toml"), "--dataset-uri", "d", "--output-uri", "o"]
    config = load_config(TrainSegmenterConfig, flags)
    assert (config.filters, config.mirrored, config.steps) == ((16, 32, 64, 128, 256, 256), 0.85, 150)


def test_the_limits_of_an_audit_are_those_of_the_job():
    named = {"model_uri": "m", "dataset_uri": "d", "output_uri": "o"}
    flags = [text for name, value in named.items() for text in (f"--{name.replace('_', '-')}", value)]
    assert load_config(AuditConfig, ["--config", str(RECIPES / "audit_covid.toml"), *flags]) == AuditConfig(**named)


def test_the_evaluation_of_the_lungs():
    flags = ["--config", str(RECIPES / "evaluate_lungs.toml")]
    flags += ["--predictions-uri", "p", "--dataset-uri", "d", "--output-uri", "o"]
    config = load_config(EvaluateSegmenterConfig, flags)
    expected = {"predictions_uri": "p", "dataset_uri": "d", "output_uri": "o", "lungs": True, "fill_holes": True}
    assert config == EvaluateSegmenterConfig(**expected)
