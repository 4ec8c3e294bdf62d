from dataclasses import FrozenInstanceError

import pytest

from cxr_ray.config import (
    BenchmarkConfig,
    BenchmarkTrainingConfig,
    ClassifyConfig,
    EmbedConfig,
    IndexConfig,
    OptimizeConfig,
    PrepareConfig,
    ScoreConfig,
    SegmentConfig,
    TrainClassifierConfig,
    TrainSegmenterConfig,
)
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.config.browsing import BrowseConfig
from cxr_ray.config.checks import require
from cxr_ray.config.demo import DemoConfig
from cxr_ray.config.orientation import FitOrientationConfig
from cxr_ray.config.probing import SelectConfig, TrainProbeConfig
from cxr_ray.errors import ConfigError

REQUIRED = {
    AuditConfig: {"model_uri": "m", "dataset_uri": "d", "output_uri": "o"},
    PrepareConfig: {"input_uri": "i", "output_uri": "o"},
    ClassifyConfig: {"input_uri": "i", "model_uri": ("m",), "output_uri": "o"},
    TrainClassifierConfig: {"dataset_uri": "d", "output_uri": "o"},
    DemoConfig: {},
    BenchmarkConfig: {"input_uri": "i", "model_uri": "m"},
    BenchmarkTrainingConfig: {"dataset_uri": "d"},
    TrainSegmenterConfig: {"dataset_uri": "d", "output_uri": "o"},
    OptimizeConfig: {"model_uri": "m", "dataset_uri": "d", "output_uri": "o"},
    EmbedConfig: {"input_uri": "i", "model_uri": ("m",), "output_uri": "o"},
    TrainProbeConfig: {"embeddings_uri": "e", "dataset_uri": ("d",), "output_uri": "o"},
    BrowseConfig: {"predictions_uri": "p", "output_uri": "o"},
    FitOrientationConfig: {"dataset_uri": "d", "output_uri": "o.json"},
    SelectConfig: {"embeddings_uri": "e", "output_uri": "o.csv"},
}
TEXT = {"clip_uri": "c", "sam_uri": "s"}
SEGMENTER = {"model_uri": "m"}


@pytest.mark.parametrize(
    ("config_class", "choice", "message"),
    [
        (
            PrepareConfig,
            {"split": (0.7, 0.2, 0.2)},
            r"split must be three fractions that sum to 1; got \(0.7, 0.2, 0.2\)",
        ),
        (PrepareConfig, {"split": (1.2, -0.2, 0.0)}, r"split must be three fractions >= 0; got \(1.2, -0.2, 0.0\)"),
        (AuditConfig, {"folds": 2}, "folds must be >= 3; got 2"),
        (AuditConfig, {"border": 0.5}, "border must be above 0 and below 0.5; got 0.5"),
        (AuditConfig, {"jpeg": (50, 0)}, r"jpeg must be numbers from 1 to 95; got \(50, 0\)"),
        (AuditConfig, {"noise": ()}, r"noise must be at least one level; got \(\)"),
        (AuditConfig, {"resolution": (1.0,)}, r"resolution must be numbers between 0 and 1; got \(1.0,\)"),
        (
            AuditConfig,
            {"outside_gain": (0.2, 0.1)},
            r"outside_gain must be two numbers >= 0, of which the second is not",
        ),
        (
            AuditConfig,
            {"heat_lift": (1.0, 1.1)},
            "heat_lift must be two numbers >= 0, of which the second is not larger",
        ),
        (AuditConfig, {"retrain_splits": ()}, r"retrain_splits must be at least one split; got \(\)"),
        (AuditConfig, {"fail_on": "always"}, "fail_on must be one of none, fail, warn; got 'always'"),
        (AuditConfig, {"metadata_uri": "m.csv"}, "metadata_uri 'm.csv' changes nothing without source_column"),
        (DemoConfig, {"segmenter_epochs": 3}, "segmenter_epochs must be even; got 3"),
        (BenchmarkConfig, {"dollars_per_hour": -1.0}, "dollars_per_hour must be >= 0 and finite; got -1.0"),
        (BenchmarkTrainingConfig, {"backbone": ()}, r"backbone must be at least one name; got \(\)"),
        (PrepareConfig, {"near_duplicate_distance": 65}, "near_duplicate_distance must be 0 to 64; got 65"),
        (PrepareConfig, {"max_megapixels": 0}, "max_megapixels must be > 0; got 0"),
        (PrepareConfig, {"max_decode_seconds": 0.0}, "max_decode_seconds must be > 0; got 0.0"),
        (PrepareConfig, {"max_megabytes": -1}, "max_megabytes must be > 0; got -1"),
        (PrepareConfig, {"split": (float("nan"), 0.5, 0.5)}, r"split must be three fractions >= 0; got \(nan"),
        (ClassifyConfig, {"model_uri": ()}, r"model_uri must be at least one model bundle; got \(\)"),
        (
            ClassifyConfig,
            {"model_uri": ("m", "m")},
            r"model_uri must be different bundles; remove the repeated one; got \('m', 'm'\)",
        ),
        (ClassifyConfig, {"shard": "0/4"}, "shard must be I/N with 1 <= I <= N, such as 3/16; got '0/4'"),
        (ClassifyConfig, {"shard": "5/4"}, "shard must be I/N with 1 <= I <= N, such as 3/16; got '5/4'"),
        (ClassifyConfig, {"max_error_rate": 1.1}, "max_error_rate must be between 0 and 1; got 1.1"),
        (ClassifyConfig, {"max_error_rate": float("nan")}, "max_error_rate must be between 0 and 1; got nan"),
        (ClassifyConfig, {"rows_per_block": 0}, "rows_per_block must be >= 1; got 0"),
        (ClassifyConfig, {"batch_size": 0}, "batch_size must be >= 1; got 0"),
        (ClassifyConfig, {"num_actors": 0}, "num_actors must be >= 1; got 0"),
        (
            ClassifyConfig,
            {"num_gpus_per_actor": 1.5},
            "num_gpus_per_actor must be a fraction above 0 and below 1, or a whole",
        ),
        (
            ClassifyConfig,
            {"num_gpus_per_actor": 0.0},
            "num_gpus_per_actor must be a fraction above 0 and below 1, or a whole",
        ),
        (ClassifyConfig, {"max_wait_minutes": -1.0}, "max_wait_minutes must be >= 0; got -1"),
        (ClassifyConfig, {"grow_minutes": -1.0}, "grow_minutes must be >= 0; got -1"),
        (TrainClassifierConfig, {"max_wait_minutes": -1.0}, "max_wait_minutes must be >= 0; got -1"),
        (ClassifyConfig, {"progress_seconds": 0}, "progress_seconds must be > 0; got 0"),
        (TrainClassifierConfig, {"epochs": 0}, "epochs must be >= 1; got 0"),
        (TrainClassifierConfig, {"num_workers": 0}, "num_workers must be N or MIN..MAX with 1 <= MIN <= MAX; got 0"),
        (TrainClassifierConfig, {"image_size": 31}, "image_size must be >= 32; got 31"),
        (TrainClassifierConfig, {"learning_rate": 0.0}, "learning_rate must be > 0; got 0.0"),
        (TrainClassifierConfig, {"weight_decay": -0.1}, "weight_decay must be >= 0; got -0.1"),
        (
            TrainSegmenterConfig,
            {"uncertainty_quantile": 0.5},
            "uncertainty_quantile 0.5 and uncertain drop choose among",
        ),
        (TrainSegmenterConfig, {"uncertain": "downweight"}, "uncertainty_quantile 1.0 and uncertain downweight choose"),
        (TrainClassifierConfig, {"epochs": 2, "freeze_epochs": 3}, "freeze_epochs must be at most epochs, 2; got 3"),
        (
            TrainClassifierConfig,
            {"balance_power": 0.5},
            "balance_power 0.5 changes nothing without class_balance loss or sampling; add that, or leave balance_power at 1.0",
        ),
        (
            TrainClassifierConfig,
            {"uncertain": "positive"},
            "uncertain 'positive' changes nothing without task multilabel; add that, or leave uncertain at 'ignore'",
        ),
        (
            TrainClassifierConfig,
            {"task": "multilabel", "class_balance": "sampling"},
            "class_balance sampling draws images of one class, and findings have none; use class_balance loss",
        ),
        (
            TrainClassifierConfig,
            {"task": "multilabel", "label_weights": ("edema=0",)},
            "label_weights must be FINDING=NUMBER with a number above 0, once for each finding; got 'edema=0'",
        ),
        (PrepareConfig, {"labels_uri": ("t.csv",)}, r"labels_uri \('t.csv',\) needs label_recipe; add it"),
        (PrepareConfig, {"label_recipe": "nih"}, "label_recipe 'nih' needs labels_uri; add it"),
        (EmbedConfig, {"model_uri": ()}, r"model_uri must be at least one model bundle; got \(\)"),
        (EmbedConfig, {"layer": ""}, "layer must be pooled, cls or the name of a layer; got ''"),
        (
            TrainProbeConfig,
            {"dataset_uri": "d"},
            r'dataset_uri must be a tuple of tables such as \("dataset.parquet",\)',
        ),
        (TrainProbeConfig, {"dataset_uri": ()}, r"dataset_uri must be at least one table; got \(\)"),
        (TrainProbeConfig, {"folds": 1}, "folds must be >= 2; got 1"),
        (SelectConfig, {"output_uri": "o"}, r"output_uri must be the name of a file that ends in \.csv; got 'o'"),
        (SelectConfig, {"count": 0}, "count must be >= 1; got 0"),
        (SelectConfig, {"max_candidates": 9}, "max_candidates must be at least count, 100; got 9"),
        (
            SelectConfig,
            {"show_predictions": True},
            "show_predictions must be left out without probe_uri, which predicts; got True",
        ),
        (TrainClassifierConfig, {"layer_decay": 0.0}, "layer_decay must be above 0, and at most 1; got 0.0"),
        (TrainClassifierConfig, {"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
        (
            TrainClassifierConfig,
            {"backbone": "densenet121", "drop_path": 0.1},
            "drop_path must be 0 for densenet121, which has no residual blocks; got 0.1",
        ),
        (DemoConfig, {"epochs": 0}, "epochs must be >= 1; got 0"),
        (DemoConfig, {"batch_size": 0}, "batch_size must be >= 1; got 0"),
        (DemoConfig, {"image_size": 16}, "image_size must be >= 32; got 16"),
        (OptimizeConfig, {"calibration_images": 0}, "calibration_images must be >= 1; got 0"),
        (OptimizeConfig, {"max_loss": 1.5}, "max_loss must be between 0 and 1; got 1.5"),
        (OptimizeConfig, {"max_loss": float("nan")}, "max_loss must be between 0 and 1; got nan"),
        (FitOrientationConfig, {"ridge": 0.0}, "ridge must be > 0; got 0.0"),
        (OptimizeConfig, {"seed": -1}, "seed must be >= 0; got -1"),
        (BrowseConfig, {"max_rows": 0}, "max_rows must be 1 to 500,000; got 0"),
        (BrowseConfig, {"max_thumbnails": -1}, "max_thumbnails must be >= 0; got -1"),
        (BrowseConfig, {"thumbnail_choice": "best"}, "thumbnail_choice must be one of random, uncertain; got 'best'"),
        (BrowseConfig, {"thumbnail_side": 1024}, "thumbnail_side must be 32 to 512; got 1024"),
        (BrowseConfig, {"seed": -1}, "seed must be >= 0; got -1"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_fix(config_class, choice, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        config_class(**REQUIRED[config_class] | choice)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (SEGMENTER | {"prompts": ("heart",)}, r"prompts changes nothing for a segmenter \(--model-uri\); drop it"),
        (SEGMENTER | {"class_prompts": {"COVID": ["lungs"]}}, "class_prompts changes nothing for a segmenter"),
        (SEGMENTER | {"save_saliency": True}, "save_saliency changes nothing for a segmenter"),
        (TEXT | {"foreground": 0.4}, r"foreground changes nothing for segmentation by text \(--clip-uri, --sam-uri\)"),
        (TEXT | {"save_uncertainty": True}, "save_uncertainty changes nothing for segmentation by text"),
        (SEGMENTER | {"points": 3}, "points changes nothing for a segmenter"),
        (
            TEXT | {"points": 3},
            "points 3 changes nothing without prompt_kind points or both; add that, or leave points at 10",
        ),
        (TEXT | {"background_points": 3}, "background_points 3 changes nothing without prompt_kind points or both"),
        (TEXT | {"fixed_threshold": 0.4}, "fixed_threshold 0.4 changes nothing without threshold fixed"),
        (
            TEXT | {"engine": "openvino"},
            "engine must be auto or torch to segment by text, because M2IB needs gradients; got 'openvino'",
        ),
        (
            SEGMENTER | {"engine": "openvino", "device": "cuda"},
            "engine must be auto, torch or compile with --device cuda; got 'openvino'",
        ),
        (
            TEXT | {"precision": "fp16"},
            "precision must be auto, bf16 or fp32 to segment by text, because M2IB loses its gradients in fp16; got 'fp16'",
        ),
    ],
)
def test_what_a_way_to_segment_would_ignore_is_refused(choice, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        SegmentConfig(input_uri="i", output_uri="o", **choice)


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"prompts": ()}, "prompts"),
        ({"class_prompts": {"COVID": ["lungs", " "]}}, "class_prompts of COVID"),
        ({"prompts": (), "class_prompts": {"prompts": ["lungs"]}}, "prompts"),  # a class of the option's name
    ],
)
def test_empty_sentences_are_refused_by_the_name_of_their_option(choice, name):
    with pytest.raises(ConfigError, match=f"^{name} must be one or more sentences, none of them empty; got "):
        SegmentConfig(input_uri="i", output_uri="o", **TEXT, **choice)


def test_a_segmenter_takes_the_options_that_concern_it():
    options = {"foreground": 0.4, "precision": "fp16"}
    SegmentConfig(input_uri="i", output_uri="o", **SEGMENTER, **options, save_uncertainty=True)
    both = ScoreConfig(input_uri="i", output_uri="o", classifier_uri=("c",), segmenter_uri="m", **options)
    assert (both.segmenting().foreground, both.segmenting().precision) == (0.4, "fp16")


@pytest.mark.parametrize("config_class", REQUIRED)
def test_defaults_are_in_range_and_frozen(config_class):
    config = config_class(**REQUIRED[config_class])
    with pytest.raises(FrozenInstanceError):
        config.debug = True


def test_positional_arguments_are_refused():
    with pytest.raises(TypeError):
        IndexConfig("in", "out")


def test_require_names_field_fix_and_value():
    require(True, "a", 0, ">= 1")
    with pytest.raises(ConfigError, match=r"^a must be >= 1; got 'x'$"):
        require(False, "a", "x", ">= 1")
