"""Tests of the cascade: its rows equal those of both jobs, and the rule selects the images that have a mask."""

from dataclasses import replace

import pytest

from cxr_ray.archive.tables import read_table
from cxr_ray.config import ClassifyConfig, ScoreConfig, SegmentConfig
from cxr_ray.errors import ConfigError, ResumeError
from cxr_ray.models.multilabel_card import MultilabelCard
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.schema import LUNG_FIELDS, MASK_FIELDS
from cxr_ray.scoring.classify_archive import classify_archive
from cxr_ray.scoring.score_archive import score_archive
from cxr_ray.scoring.segment_archive import segment_archive

OPTIONS = {"precision": "fp32", "max_error_rate": 1.0, "exclude": ("*/masks/*",)}


@pytest.fixture(scope="module")
def models(save_random, segmenter_uri, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_random(folder / "classifier")
    return str(folder / "classifier"), segmenter_uri


def rows_of(output, table):
    return {row["image_id"]: row for row in read_table(str(output / table)).to_pylist()}


@pytest.mark.cluster
@pytest.mark.slow
def test_rows_equal_those_of_both_jobs_and_the_rule_chooses(ray_cluster, models, tmp_path):
    classifier, segmenter_uri = models
    archive = write_phantom_archive(str(tmp_path / "in"), images_per_class=4, size=64, broken=4)
    shared = OPTIONS | {"input_uri": archive.uri}
    classify_archive(ClassifyConfig(**shared, output_uri=str(tmp_path / "alone"), model_uri=(classifier,)))
    segment_archive(SegmentConfig(**shared, output_uri=str(tmp_path / "alone"), model_uri=segmenter_uri))
    predictions, masks = rows_of(tmp_path / "alone", "predictions"), rows_of(tmp_path / "alone", "masks")
    chosen = max({row["label"] for row in predictions.values() if row["label"]})
    cascade = ScoreConfig(
        **shared, output_uri=str(tmp_path / "both"), classifier_uri=(classifier,), segmenter_uri=segmenter_uri,
        segment_labels=(chosen,),
    )  # fmt: skip
    score_archive(cascade)
    scores = rows_of(tmp_path / "both", "scores")
    score_archive(cascade)
    assert rows_of(tmp_path / "both", "scores") == scores, "the same command finds nothing left to do"
    with pytest.raises(
        ResumeError, match=r"made with foreground 0\.5; this command has foreground 0\.4; choose another"
    ):
        score_archive(replace(cascade, foreground=0.4))
    assert scores.keys() == predictions.keys() == masks.keys()
    seen = set()
    for image_id, row in scores.items():
        alone = predictions[image_id]
        for name in alone.keys() - {"run_id", "scored_at"}:
            assert row[name] == pytest.approx(alone[name], abs=1e-5), name
        seen.add(row["mask_status"])
        if row["mask_status"] in ("skipped", None):
            assert (row["label"] != chosen) or row["mask_status"] is None
            assert row["mask_counts"] is None
            continue
        assert row["label"] == chosen
        mask = masks[image_id]
        assert (row["mask_status"], row["mask_model_id"]) == (mask["status"], mask["model_id"])
        assert row["mask_preprocessing_id"] == mask["preprocessing_id"]
        for field in (*MASK_FIELDS, *LUNG_FIELDS):
            expected = mask[field.name]
            exact = isinstance(expected, str | list | None)
            assert row[field.name] == (expected if exact else pytest.approx(expected, rel=1e-3)), field.name
    assert {"skipped", None} < seen


def test_a_rule_for_an_unknown_class_is_refused(models, tmp_path):
    with pytest.raises(ConfigError, match="segment_labels names Fracture; choose from the classifier's labels"):
        score_archive(
            ScoreConfig(
                input_uri=str(tmp_path), output_uri=str(tmp_path / "out"), classifier_uri=(models[0],),
                segmenter_uri=models[1], segment_labels=("Fracture",),
            )
        )  # fmt: skip


def test_a_confidence_in_no_finding_is_refused(save_random, models, tmp_path):
    card = {"labels": ("edema", "mass"), "temperatures": (1.0, 1.0), "thresholds": (0.5, 0.5)}
    save_random(tmp_path / "findings", card_type=MultilabelCard, **card)
    with pytest.raises(
        ConfigError, match=r"segment_min_confidence 0.5 of findings needs segment_labels; name findings of"
    ):
        score_archive(
            ScoreConfig(
                input_uri=str(tmp_path), output_uri=str(tmp_path / "out"), classifier_uri=(str(tmp_path / "findings"),),
                segmenter_uri=models[1], segment_min_confidence=0.5,
            )
        )  # fmt: skip
