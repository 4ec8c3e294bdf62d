"""Tests of the cascade's stage without Ray: which images it segments, and its rows where a segmenter fails."""

import math

import pyarrow as pa
import pytest

from cxr_ray.config import ScoreConfig
from cxr_ray.config.segmentation import MaskFiles, SegmenterSettings
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.models.task import Findings, OneClass
from cxr_ray.schema import LUNG_FIELDS, MASK_FIELDS
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.cascade import CascadeStage, asked_for
from cxr_ray.scoring.stages.classify import ClassifyStage
from cxr_ray.scoring.stages.load import Geometry, LoadStage
from cxr_ray.scoring.stages.segment_by_model import SegmenterStage
from cxr_ray.scoring.stages.segment_outputs import SegmentOutputs

FRAME = Geometry(image_size=32, interpolation="bilinear")


@pytest.fixture(scope="module")
def loaded(archive):
    limits = DecodeLimits(max_megapixels=1.0)
    (table,) = LoadStage(geometries=(FRAME,), limits=limits, patient_secret=PatientSecret(b"s"))(archive)
    return table


def config_of(**options):
    return ScoreConfig(
        input_uri="i", output_uri="o", precision="fp32", **{"classifier_uri": ("c",), "segmenter_uri": "s"} | options
    )


def segment_arguments(model_uri, provenance):
    return {
        "model_uri": model_uri, "settings": SegmenterSettings(), "outputs": SegmentOutputs("o", MaskFiles()),
        "engine": "torch", "precision": "fp32", "batch_size": None, "device": "cpu", "threads": 1, "provenance": provenance,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        ({}, [True, True, True, False, True]),
        ({"segment_labels": ("COVID",)}, [True, False, True, False, True]),
        ({"segment_labels": ("COVID", "Normal")}, [True, True, True, False, True]),
        ({"segment_min_confidence": 0.5}, [True, True, True, False, False]),
        ({"segment_labels": ("COVID",), "segment_min_confidence": 0.75}, [True, False, False, False, False]),
    ],
)
def test_the_rule_asks_for_classes_and_for_a_confidence_that_is_reached(rule, asked):
    predictions = pa.table(
        {
            "status": ["ok", "ok", "ok", "error", "ok"],
            "label": ["COVID", "Normal", "COVID", None, "COVID"],
            "confidence": [0.75, 0.75, 0.5, None, 0.25],
        }
    )
    found = asked_for(predictions, config_of(**rule), OneClass(("COVID", "Normal")))
    assert (found.tolist(), found.dtype) == (asked, bool)
    nothing = asked_for(predictions.slice(0, 0), config_of(**rule), OneClass(("COVID", "Normal")))
    assert (nothing.shape, nothing.dtype) == ((0,), bool)


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        ({}, [True, True, True, False]),
        ({"segment_labels": ("edema",)}, [True, False, False, False]),
        ({"segment_labels": ("edema", "mass")}, [True, True, False, False]),
        ({"segment_labels": ("edema", "mass"), "segment_min_confidence": 0.7}, [False, True, False, False]),
    ],
)
def test_the_rule_asks_for_findings_that_are_called_present(rule, asked):
    predictions = pa.table(
        {
            "status": ["ok", "ok", "ok", "error"],
            "prob_edema": pa.array([0.6, 0.9, 0.1, None], pa.float32()),
            "prob_mass": pa.array([0.2, 0.8, 0.2, None], pa.float32()),
            "label_edema": pa.array([1, 0, 0, None], pa.int8()),
            "label_mass": pa.array([0, 1, 0, None], pa.int8()),
        }
    )
    task = Findings(("edema", "mass"), (1.0, 1.0), (0.5, 0.5))
    assert asked_for(predictions, config_of(**rule), task).tolist() == asked


@pytest.mark.slow
def test_rows_are_those_of_both_stages_and_skipped_where_the_rule_asks_for_no_mask(
    save_random, segmenter_uri, loaded, tmp_path
):
    save_random(tmp_path / "classifier")
    config = config_of(classifier_uri=(str(tmp_path / "classifier"),), segmenter_uri=segmenter_uri)
    score = {
        "model_uris": config.classifier_uri,
        "device": "cpu",
        "engine": "torch",
        "precision": "fp32",
        "threads": 1,
        "run_id": "r",
    }
    provenance = {"model_id": "m", "preprocessing_id": "p", "run_id": "r"}
    segment = segment_arguments(segmenter_uri, provenance)
    alone = ClassifyStage(**score)(loaded).to_pylist()
    masks = SegmenterStage(**segment)(loaded).to_pylist()
    bound = sorted(row["confidence"] for row in alone if row["status"] == "ok")[2]
    stage = CascadeStage(
        config=config_of(
            classifier_uri=config.classifier_uri, segmenter_uri=segmenter_uri, segment_min_confidence=bound
        ),
        score=score,
        segment=segment,
    )
    table = stage(loaded)
    assert table.schema == stage.schema
    seen = []
    for row, prediction, mask in zip(table.to_pylist(), alone, masks, strict=True):
        for name in prediction.keys() & set(stage.schema.names) - {"scored_at"}:
            assert row[name] == prediction[name], name
        seen.append(row["mask_status"])
        asked = prediction["status"] == "ok" and prediction["confidence"] >= bound
        if not asked:
            assert row["mask_status"] == ("skipped" if prediction["status"] == "ok" else None)
            assert row["mask_model_id"] is row["mask_preprocessing_id"] is row["mask_counts"] is None
            continue
        assert (row["mask_status"], row["mask_model_id"], row["mask_preprocessing_id"]) == (mask["status"], "m", "p")
        for field in (*MASK_FIELDS, *LUNG_FIELDS):
            expected = mask[field.name]
            exact = isinstance(expected, str | list | None)
            assert row[field.name] == (expected if exact else pytest.approx(expected, rel=1e-3)), field.name
    assert seen.count("skipped") == 2
    assert seen.count(None) == 6


@pytest.mark.slow
def test_an_image_whose_mask_fails_is_an_error_row(save_random, save_segmenter, loaded, tmp_path):
    save_random(tmp_path / "classifier")
    segmenter_uri = save_segmenter(tmp_path / "segmenter", fill=math.nan)
    config = ScoreConfig(
        input_uri="i", output_uri="o", precision="fp32", classifier_uri=(str(tmp_path / "classifier"),),
        segmenter_uri=segmenter_uri,
    )  # fmt: skip
    score = {
        "model_uris": config.classifier_uri, "device": "cpu", "engine": "torch", "precision": "fp32", "threads": 1, "run_id": "r"
    }  # fmt: skip
    provenance = {"model_id": "m", "preprocessing_id": "p", "run_id": "r"}
    segment = segment_arguments(segmenter_uri, provenance)
    rows = CascadeStage(config=config, score=score, segment=segment)(loaded).to_pylist()
    alone = ClassifyStage(**score)(loaded).to_pylist()
    failed = 0
    for row, prediction in zip(rows, alone, strict=True):
        assert row["label"] == prediction["label"]
        assert row["status"] == "error"
        if prediction["status"] == "ok":
            failed += 1
            assert (row["mask_status"], row["error_kind"]) == ("error", "not_finite")
            assert row["error"] == "a model's output is not a finite number"
        else:
            assert (row["mask_status"], row["error_kind"]) == (None, prediction["error_kind"])
    assert failed == 4
