"""Tests of the models of a segmentation job, from the config to the rows of an actor, without Ray."""

import pytest

from cxr_ray.config import SegmentConfig
from cxr_ray.config.segmentation import TextModels
from cxr_ray.imaging.decode import DecodeLimits
from cxr_ray.models.bundle import read_card
from cxr_ray.models.segmenter_ensemble import SegmenterCard
from cxr_ray.models.weights_cache import weights_sha256
from cxr_ray.scoring.archive_job import Run
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.pool import ScoringPool
from cxr_ray.scoring.segment_archive import by_model, by_text
from cxr_ray.scoring.stages.load import Geometry, LoadStage
from cxr_ray.scoring.stages.segment_outputs import OVERLAY_IMAGE

POOL = ScoringPool(
    device="cpu", actors=1, most_actors=1, cpus_per_actor=1.0, threads_per_actor=1, cpus_per_load_task=1.0, load_slots=1
)
RUN = Run(run_id="run-7", blocks_uri="b", pool=POOL, tally=None)


def rows_of(segmenter, archive):
    """Rows that an actor of a job would make of the images that its load tasks would load."""
    load = LoadStage(
        geometries=segmenter.geometries, limits=DecodeLimits(max_megapixels=1.0), patient_secret=PatientSecret(b"s")
    )
    (loaded,) = load(archive)
    stage, arguments = segmenter.stage(RUN)
    return stage(**arguments)(loaded).to_pylist()


def segmenter_config(segmenter_uri, output, **options):
    options = {"precision": "fp32", "min_area": 0.0} | options
    return SegmentConfig(input_uri="i", output_uri=str(output), model_uri=segmenter_uri, **options)


def test_rows_of_a_segmenter_name_its_ensemble_its_settings_and_the_run(segmenter_uri, archive, tmp_path):
    segmenter = by_model(segmenter_uri, segmenter_config(segmenter_uri, tmp_path))
    rows = rows_of(segmenter, archive)
    assert len(rows) == archive.num_rows
    assert (
        {row["model_id"] for row in rows} == {segmenter.model_id} == {read_card(segmenter_uri, SegmenterCard).model_id}
    )
    assert {row["preprocessing_id"] for row in rows} == {segmenter.preprocessing_id}
    assert {row["run_id"] for row in rows} == {"run-7"}
    assert {row["status"] for row in rows} <= {"ok", "empty", "error"}


def test_a_segmenter_takes_the_geometry_of_overlays_only_if_they_are_drawn(segmenter_uri, archive, tmp_path):
    frame = Geometry(image_size=32, interpolation="bilinear")
    assert by_model(segmenter_uri, segmenter_config(segmenter_uri, tmp_path)).geometries == (frame,)
    drawing = by_model(segmenter_uri, segmenter_config(segmenter_uri, tmp_path, save_overlays=True))
    assert drawing.geometries == (frame, OVERLAY_IMAGE)
    drawn = [row for row in rows_of(drawing, archive) if row["status"] != "error"]
    assert len(list((tmp_path / "overlays").iterdir())) == len(drawn) == 4


def test_settings_of_a_segmenter_change_its_rows_and_their_preprocessing_id(segmenter_uri, archive, tmp_path):
    plain = by_model(segmenter_uri, segmenter_config(segmenter_uri, tmp_path))
    strict = by_model(segmenter_uri, segmenter_config(segmenter_uri, tmp_path, min_area=0.999))
    assert plain.model_id == strict.model_id
    assert plain.preprocessing_id != strict.preprocessing_id
    assert {row["status"] for row in rows_of(strict, archive)} == {"empty", "error"}


@pytest.mark.slow
def test_rows_of_segmentation_by_text_name_the_weights_of_both_models(segmenting_weights, archive, tmp_path):
    options = {"layer": 1, "steps": 2, "draws": 2, "precision": "fp32"}
    config = SegmentConfig(input_uri="i", output_uri=str(tmp_path), **segmenting_weights, **options)
    segmenter = by_text(TextModels(**segmenting_weights), config)
    clip, sam = segmenter.model_id.split("+")
    assert clip.startswith("biomedclip-")
    assert sam == f"sam-{weights_sha256(segmenting_weights['sam_uri'])[:12]}"
    rows = rows_of(segmenter, archive)
    assert {(row["model_id"], row["preprocessing_id"], row["run_id"]) for row in rows} == {
        (segmenter.model_id, segmenter.preprocessing_id, "run-7")
    }
