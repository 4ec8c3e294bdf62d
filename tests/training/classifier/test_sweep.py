from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.classifier.sweep import recipe_config


def test_a_flag_overrides_a_recipe_also_where_it_says_the_default(tmp_path):
    (tmp_path / "base.toml").write_text(f'sweep = ["{tmp_path}/r.toml"]\nseed = 7\nepochs = 3\n')
    (tmp_path / "r.toml").write_text("image_size = 96\nepochs = 40\npretrained = true\nwarmup = 0.1\n")
    default = TrainClassifierConfig(dataset_uri="d", output_uri="o")
    argv = ["--config", f"{tmp_path}/base.toml", "--dataset-uri", "d", "--output-uri", "o", "--no-pretrained"]
    config = recipe_config([*argv, "--image-size", str(default.image_size)], f"{tmp_path}/r.toml", "r", "/out")
    assert (config.image_size, config.pretrained) == (default.image_size, False)
    assert (config.epochs, config.warmup, config.seed) == (40, 0.1, 7)
    assert (config.output_uri, config.sweep) == ("/out/r", ())
