"""Tests that a column of predictions occurs neither in masks nor in the scores of the cascade."""

import pyarrow as pa
import pytest

from cxr_ray import schema
from cxr_ray.config import ScoreConfig
from cxr_ray.config.segmentation import MaskFiles, SegmenterSettings
from cxr_ray.imaging.decode import DecodeLimits
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.cascade import CascadeStage
from cxr_ray.scoring.stages.classify import ClassifyStage
from cxr_ray.scoring.stages.load import Geometry, LoadStage
from cxr_ray.scoring.stages.segment_by_model import SegmenterStage
from cxr_ray.scoring.stages.segment_outputs import SegmentOutputs

FRAME = Geometry(image_size=32, interpolation="bilinear")
OWN = pa.field("mean_intensity", pa.float32())


@pytest.fixture
def loaded(archive, monkeypatch):
    """Rows of loaded images with an additional column of predictions, whose values are the rows' positions."""
    monkeypatch.setattr(schema, "PREDICTION_FIELDS", [OWN])
    limits = DecodeLimits(max_megapixels=1.0)
    (table,) = LoadStage(geometries=(FRAME,), limits=limits, patient_secret=PatientSecret(b"s"))(archive)
    position = table.column_names.index(OWN.name)
    return table.set_column(position, OWN, pa.array(range(table.num_rows), OWN.type))


@pytest.mark.slow
def test_a_column_of_predictions_is_in_no_other_table(loaded, save_random, segmenter_uri, tmp_path):
    save_random(tmp_path)
    config = ScoreConfig(
        input_uri="i", output_uri="o", precision="fp32", classifier_uri=(str(tmp_path),), segmenter_uri=segmenter_uri
    )
    score = {
        "model_uris": (str(tmp_path),),
        "device": "cpu",
        "engine": "torch",
        "precision": "fp32",
        "threads": 1,
        "run_id": "r",
    }
    provenance = {"model_id": "m", "preprocessing_id": "p", "run_id": "r"}
    segment = {
        "model_uri": segmenter_uri, "settings": SegmenterSettings(), "outputs": SegmentOutputs("o", MaskFiles()),
        "engine": "torch", "precision": "fp32", "batch_size": None, "device": "cpu", "threads": 1, "provenance": provenance,
    }  # fmt: skip
    predictions = ClassifyStage(**score)(loaded)
    assert predictions[OWN.name].to_pylist() == list(range(loaded.num_rows))
    masks, scores = SegmenterStage(**segment)(loaded), CascadeStage(config=config, score=score, segment=segment)(loaded)
    assert masks.schema == schema.MASKS
    assert scores.schema == schema.scores_schema(schema.LABELS)
    assert OWN.name not in {*masks.column_names, *scores.column_names}
    assert scores["label"].to_pylist() == predictions["label"].to_pylist()
