"""The command line of predict_image.py: pictures without a flag, models with one."""

import pytest

from cxr_ray.config import PredictConfig, load_config, run_job
from cxr_ray.errors import ConfigError


def test_pictures_are_named_without_a_flag_before_or_after_the_others():
    before = load_config(PredictConfig, ["a.png", "b c.dcm", "--model-uri", "m", "--output-uri", "o"])
    after = load_config(PredictConfig, ["--model-uri", "m", "--output-uri", "o", "a.png", "b c.dcm"])
    assert before == after == PredictConfig(images=("a.png", "b c.dcm"), model_uri="m", output_uri="o")


def test_a_recipe_may_name_the_models(tmp_path):
    recipe = tmp_path / "models.toml"
    recipe.write_text('model_uri = "m"\nsegmenter_uri = "s"\n')
    config = load_config(PredictConfig, ["--config", str(recipe), "a.png"])
    assert (config.images, config.model_uri, config.segmenter_uri) == (("a.png",), "m", "s")


@pytest.mark.parametrize(("line", "missing"), [(["--model-uri", "m"], "images"), (["a.png"], "--model-uri")])
def test_without_a_picture_or_a_model_it_ends_with_code_2(line, missing, capsys):
    with pytest.raises(SystemExit) as ended:
        run_job(PredictConfig, lambda config: None, line)
    assert ended.value.code == 2
    assert missing in capsys.readouterr().err


def test_values_out_of_range_are_named():
    with pytest.raises(ConfigError, match=r"images must be at least one path or URI of a radiograph; got \(\)"):
        PredictConfig(images=(), model_uri="m")
    with pytest.raises(ConfigError, match="max_megapixels must be > 0; got 0"):
        PredictConfig(images=("a",), model_uri="m", max_megapixels=0)
