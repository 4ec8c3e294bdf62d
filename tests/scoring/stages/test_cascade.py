"""The cascade's work without Ray: what its rows say where a student fails."""

import math

import pytest

from cxr_ray.config import ScoreConfig
from cxr_ray.config.segmentation import MaskFiles, StudentSettings
from cxr_ray.imaging.decode import DecodeLimits
from cxr_ray.scoring.stages.cascade import CascadeStage
from cxr_ray.scoring.stages.classify import ScoreStage
from cxr_ray.scoring.stages.load import Geometry, LoadStage
from cxr_ray.scoring.stages.segment_outputs import SegmentOutputs

FRAME = Geometry(image_size=32, interpolation="bilinear")


@pytest.fixture(scope="module")
def loaded(archive):
    limits = DecodeLimits(max_megapixels=1.0)
    (table,) = LoadStage(geometries=(FRAME,), limits=limits, patient_key_secret=b"s")(archive)
    return table


def test_an_image_whose_mask_fails_is_an_error_that_is_counted_and_tried_again(
    save_random, save_student, loaded, tmp_path
):
    save_random(tmp_path / "classifier")
    student = save_student(tmp_path / "student", fill=math.nan)
    config = ScoreConfig(
        input_uri="i", output_uri="o", precision="fp32", classifier_uri=(str(tmp_path / "classifier"),),
        segmenter_uri=student,
    )  # fmt: skip
    score = {
        "model_uris": config.classifier_uri, "device": "cpu", "precision": "fp32", "threads": 1, "run_id": "r"
    }  # fmt: skip
    provenance = {"model_id": "m", "preprocessing_id": "p", "run_id": "r"}
    segment = {
        "model_uri": student, "settings": StudentSettings(), "outputs": SegmentOutputs("o", MaskFiles()),
        "precision": "fp32", "batch_size": None, "device": "cpu", "threads": 1, "provenance": provenance,
    }  # fmt: skip
    rows = CascadeStage(config=config, score=score, segment=segment)(loaded).to_pylist()
    alone = ScoreStage(**score)(loaded).to_pylist()
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
