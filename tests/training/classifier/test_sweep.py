import pytest

from cxr_ray.cluster.nodes import NodeRoom
from cxr_ray.config import TrainClassifierConfig
from cxr_ray.errors import ConfigError
from cxr_ray.training.classifier import sweep
from cxr_ray.training.classifier.sweep import comparison, named_recipes, recipe_config, trials_at_once


def test_a_flag_overrides_a_recipe_even_if_its_value_is_the_default(tmp_path):
    (tmp_path / "base.toml").write_text(f'sweep = ["{tmp_path}/r.toml"]\nseed = 7\nepochs = 3\n')
    (tmp_path / "r.toml").write_text("image_size = 96\nepochs = 40\npretrained = true\nwarmup = 0.1\n")
    default = TrainClassifierConfig(dataset_uri="d", output_uri="o")
    argv = ["--config", f"{tmp_path}/base.toml", "--dataset-uri", "d", "--output-uri", "o", "--no-pretrained"]
    config = recipe_config([*argv, "--image-size", str(default.image_size)], f"{tmp_path}/r.toml", "r", "/out")
    assert (config.image_size, config.pretrained) == (default.image_size, False)
    assert (config.epochs, config.warmup, config.seed) == (40, 0.1, 7)
    assert (config.output_uri, config.sweep) == ("/out/r", ())


def test_recipes_are_named_by_their_files_and_each_name_once():
    assert named_recipes(["a/vit.toml", "resnet.v2.toml"]) == {"vit": "a/vit.toml", "resnet.v2": "resnet.v2.toml"}
    with pytest.raises(ConfigError, match=r"sweep names vit twice; rename one of the files"):
        named_recipes(["a/vit.toml", "b/resnet.toml", "b/vit.toml"])


@pytest.mark.parametrize(
    ("num_workers", "use_gpu", "at_once"),
    [
        (("1", "1"), False, 2),  # one worker takes all CPUs of a node
        (("1", "2"), False, 1),
        (("1", "4"), False, 1),
        (("1", "1"), True, 4),
        (("2", "1"), True, 2),
    ],
)
def test_as_many_trials_run_at_once_as_fit_if_each_were_the_largest(monkeypatch, num_workers, use_gpu, at_once):
    monkeypatch.setattr(sweep, "possible_nodes", lambda for_gpus: [NodeRoom(cpus=8.0, gpus=2)] * 2)
    options = {"dataset_uri": "d", "output_uri": "o"}
    first = TrainClassifierConfig(**options, num_workers=num_workers[0])
    second = TrainClassifierConfig(**options, num_workers=num_workers[1], use_gpu=use_gpu)
    assert trials_at_once([first, second]) == at_once


def test_the_comparison_has_a_line_for_each_recipe_and_says_which_failed():
    figures = {"val_accuracy": 0.91234, "val_macro_f1": 0.8, "val_auroc": 0.95, "val_loss": 0.25}
    failed = dict.fromkeys(("model_id", "epoch", *figures))
    one_class = {"recipe": "c", "model_id": "n", "epoch": 3} | figures | {"val_auroc": None}
    rows = [{"recipe": "vit_small", "model_id": "m", "epoch": 7} | figures, one_class, {"recipe": "b"} | failed]
    assert comparison(rows).split("\n") == [
        "recipe     epoch  accuracy  macro F1   AUROC    loss",
        "vit_small      7    0.9123    0.8000    0.9500    0.2500",
        "c              3    0.9123    0.8000         -    0.2500",
        "b          failed",
    ]
