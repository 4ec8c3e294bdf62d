"""Which options make two commands the same work, and how a difference is put into words."""

from dataclasses import dataclass, field, make_dataclass, replace

import pytest

from cxr_ray.config import (
    ClassifyConfig,
    FinetuneClipConfig,
    ScoreConfig,
    SegmentConfig,
    TrainClassifierConfig,
    TrainSegmenterConfig,
)
from cxr_ray.config.identity import MAY_CHANGE, WorkIdentity, held_values
from cxr_ray.errors import ResumeError

ARCHIVE = {"input_uri": "i", "output_uri": "o"}
DATASET = {"dataset_uri": "d", "output_uri": "o"}
COMMANDS = {
    "classify": ClassifyConfig(**ARCHIVE, model_uri=("m",)),
    "segment by text": SegmentConfig(**ARCHIVE, clip_uri="c", sam_uri="s"),
    "segment by a segmenter": SegmentConfig(**ARCHIVE, model_uri="m"),
    "cascade": ScoreConfig(**ARCHIVE, classifier_uri=("m",), segmenter_uri="s"),
    "train a classifier": TrainClassifierConfig(**DATASET),
    "fine-tune": FinetuneClipConfig(**DATASET, weights_uri="w"),
    "train a segmenter": TrainSegmenterConfig(**DATASET),
}
every_command = pytest.mark.parametrize("config", COMMANDS.values(), ids=COMMANDS)
ROWS = {"image_id": "string", "entropy": "float"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A job of one option that counts, and one that does not."""

    threshold: str = "otsu"
    batch_size: int = field(default=8, metadata=MAY_CHANGE)


def extended(config, **option):
    """The same command of a later version, whose config has one option more."""
    ((name, value),) = option.items()
    later = make_dataclass("Later", [(name, type(value), value)], bases=(type(config),), frozen=True, kw_only=True)
    return later(**{name: getattr(config, name) for name in type(config).__dataclass_fields__})


@every_command
def test_a_new_option_changes_the_identity_by_itself(config):
    before, after = WorkIdentity.of(config), WorkIdentity.of(extended(config, sharpen=0.5))
    assert after != before
    assert after.difference(before.values) == (
        "made by another version of cxr_ray, which did not note sharpen; this command has sharpen 0.5"
    )
    assert before.difference(after.values) == "made with sharpen 0.5, which this version of cxr_ray does not know"


@every_command
def test_a_new_option_that_may_change_leaves_the_identity_as_it_is(config):
    assert WorkIdentity.of(extended(config, sharpen=field(default=0.5, metadata=MAY_CHANGE))) == WorkIdentity.of(config)


@every_command
def test_where_and_how_a_job_runs_never_counts(config):
    elsewhere = replace(config, output_uri="elsewhere", overwrite=True, debug=True)
    assert WorkIdentity.of(elsewhere) == WorkIdentity.of(config)


@pytest.mark.parametrize(
    ("command", "choice"),
    [
        ("classify", {"batch_size": 7, "device": "cpu", "num_actors": 3, "rows_per_block": 64, "retry_errors": True}),
        ("classify", {"max_error_rate": 1.0, "progress_seconds": 1.0, "model_uri": ("elsewhere",)}),
        ("classify", {"max_megapixels": 300.0, "max_megabytes": 2048}),
        ("segment by text", {"save_overlays": True, "save_saliency": True, "save_dicom_seg": True, "clip_uri": "e"}),
        ("segment by a segmenter", {"save_uncertainty": True, "model_uri": "elsewhere"}),
        ("cascade", {"classifier_uri": ("elsewhere",), "segmenter_uri": "elsewhere"}),
        ("train a classifier", {"num_workers": "1..4", "use_gpu": True, "feed": "stream", "max_failures": 0}),
        ("train a classifier", {"compile": True, "dataset_uri": "elsewhere", "sweep": ("r.toml",)}),
    ],
)
def test_what_changes_no_row_and_no_weight_may_change(command, choice):
    config = COMMANDS[command]
    assert WorkIdentity.of(replace(config, **choice)) == WorkIdentity.of(config)


@pytest.mark.parametrize(
    ("command", "choice"),
    [
        ("classify", {"precision": "fp32"}),
        ("classify", {"engine": "torch"}),
        ("segment by text", {"threshold": "kmeans"}),
        ("segment by a segmenter", {"components": 1}),
        ("cascade", {"segment_min_confidence": 0.5}),
        ("train a classifier", {"epochs": 7}),
        ("fine-tune", {"weights_uri": "elsewhere"}),
        ("train a segmenter", {"seed": 1}),
    ],
)
def test_an_option_that_counts_is_named_with_both_values(command, choice):
    config = COMMANDS[command]
    ((name, value),) = choice.items()
    difference = WorkIdentity.of(replace(config, **choice)).difference(WorkIdentity.of(config).values)
    assert difference == f"made with {name} {getattr(config, name)}; this command has {name} {value}"


def test_the_difference_names_the_first_option_with_both_values_in_plain_words():
    kmeans = WorkIdentity.of(Config(threshold="kmeans"))
    assert kmeans.difference({"threshold": "otsu"}) == "made with threshold otsu; this command has threshold kmeans"
    assert kmeans.difference({"threshold": None}) == "made with threshold none; this command has threshold kmeans"
    several = kmeans.difference({"threshold": ["a b", "c"]})
    assert several == "made with threshold 'a b' c; this command has threshold kmeans"
    assert kmeans.difference(kmeans.values) is None


def test_facts_count_and_come_in_the_place_of_options_of_their_name():
    identity = WorkIdentity.of(Config(), threshold="0.5", model="m")
    assert identity.values == {"threshold": "0.5", "model": "m"}
    assert WorkIdentity.of(Config(threshold="kmeans"), idle=["threshold"]) == WorkIdentity.of(
        Config(), idle=["threshold"]
    )


def test_an_identity_comes_back_from_its_file():
    identity = WorkIdentity.of(COMMANDS["fine-tune"], dataset="f")
    assert identity.difference(held_values(identity.to_json(), "file")) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_damaged_file_is_refused(content):
    with pytest.raises(ResumeError, match=r"^OUT/job\.json is damaged.*; choose another --output-uri, or --overwrite"):
        held_values(content, "OUT/job.json")


@pytest.mark.parametrize(
    ("held", "difference"),
    [
        (ROWS, None),
        ({"image_id": "string"}, "without the column entropy, which this command writes"),
        ({}, "without the column image_id and 1 more, which this command writes"),
        (ROWS | {"beauty": "float"}, "with the column beauty, which this command does not write"),
        (ROWS | {"entropy": "double"}, "with the column entropy of type double; this command writes the type float"),
        (dict(reversed(ROWS.items())), "with their columns in another order than this command writes them"),
    ],
)
def test_columns_differ_by_name_type_and_order(held, difference):
    assert WorkIdentity.of(Config(), columns=ROWS).column_difference(held) == difference


def test_other_columns_are_another_identity():
    assert WorkIdentity.of(Config(), columns=ROWS) != WorkIdentity.of(Config(), columns=ROWS | {"beauty": "float"})
