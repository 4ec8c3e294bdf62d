"""The table of backbones is the one place that says which there are."""

import subprocess
import sys

import pytest

from cxr_ray.config import BenchmarkTrainingConfig, TrainClassifierConfig, load_config
from cxr_ray.config.backbones import BACKBONES
from cxr_ray.errors import ConfigError

PUBLISHED = ["vit_b16", "resnet50", "efficientnet_b0", "densenet121", "efficientnet_lite0"]
FLAGS = ["--dataset-uri", "d", "--output-uri", "o"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_backbone_that_users_rely_on_is_accepted(name):
    assert load_config(TrainClassifierConfig, [*FLAGS, "--backbone", name]).backbone == name


def test_several_are_benchmarked_one_after_the_other():
    config = load_config(BenchmarkTrainingConfig, [*FLAGS, "--backbone", *BACKBONES])
    assert config.backbone == tuple(BACKBONES)


@pytest.mark.parametrize("config_class", [TrainClassifierConfig, BenchmarkTrainingConfig])
def test_help_shows_every_backbone(config_class, capsys):
    with pytest.raises(SystemExit):
        load_config(config_class, ["--help"])
    assert f"{{{','.join(BACKBONES)}}}" in "".join(capsys.readouterr().out.replace("│", "").split())


@pytest.mark.parametrize("name", ["vgg16", "", "ResNet50"])
def test_any_other_is_refused_in_one_line_that_names_the_choice(name, tmp_path):
    (tmp_path / "recipe.toml").write_text(f'backbone = "{name}"\n')
    message = rf"^backbone must be one of {', '.join(BACKBONES)}; got '{name}'$"
    with pytest.raises(ConfigError, match=message):
        load_config(TrainClassifierConfig, [*FLAGS, "--backbone", name])
    with pytest.raises(ConfigError, match=message):
        load_config(TrainClassifierConfig, [*FLAGS, "--config", str(tmp_path / "recipe.toml")])
    with pytest.raises(ConfigError, match=message):
        load_config(BenchmarkTrainingConfig, [*FLAGS, "--backbone", "resnet50", name])


def test_the_table_is_free_of_torch():
    heavy = "import sys, cxr_ray.config.backbones; print({'torch', 'ray', 'timm', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout == "set()\n"
