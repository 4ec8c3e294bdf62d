"""Tests of the segmenter's stage without Ray, on loaded rows of every kind, with a tiny ensemble of random weights."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cxr_ray.config import SegmentConfig
from cxr_ray.config.segmentation import MaskFiles, SegmenterSettings
from cxr_ray.errors import ConfigError
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.mask_rle import decode_mask
from cxr_ray.models.coarse_mask import largest_components
from cxr_ray.models.lung_segmentation import Lung, LungFigures, pixel_entropy
from cxr_ray.models.segmenter import Segmenter
from cxr_ray.schema import LUNG_FIELDS, MASKS
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.load import Geometry, LoadStage, pixels_of
from cxr_ray.scoring.stages.segment_by_model import FORWARD_BATCH, SegmenterStage, lung_columns
from cxr_ray.scoring.stages.segment_outputs import OVERLAY_IMAGE, SegmentOutputs

PROVENANCE = {"model_id": "m", "preprocessing_id": "p", "run_id": "r"}
FRAME = Geometry(image_size=32, interpolation="bilinear")


@pytest.fixture(scope="module")
def loaded(archive):
    limits = DecodeLimits(max_megapixels=1.0)
    (table,) = LoadStage(geometries=(FRAME, OVERLAY_IMAGE), limits=limits, patient_secret=PatientSecret(b"s"))(archive)
    return table


def stage_of(segmenter_uri, output, *, min_area=0.0, batch_size=None, **files):
    return SegmenterStage(
        model_uri=segmenter_uri, settings=SegmenterSettings(min_area=min_area), precision="fp32", batch_size=batch_size,
        outputs=SegmentOutputs(str(output), MaskFiles(**files)), device="cpu", engine="torch", threads=1, provenance=PROVENANCE,
    )  # fmt: skip


def test_every_image_is_a_row_with_its_mask_at_its_own_size(segmenter_uri, loaded, tmp_path):
    rows = stage_of(segmenter_uri, tmp_path)(loaded)
    assert rows.schema == MASKS
    segmenter = Segmenter(segmenter_uri, device="cpu", precision="fp32")
    probabilities = iter(segmenter.predict(pixels_of(loaded, FRAME)[0]))
    for before, row in zip(loaded.to_pylist(), rows.to_pylist(), strict=True):
        assert row["image_id"] == before["image_id"]
        if before["status"] == "error":
            assert (row["status"], row["error_kind"]) == ("error", before["error_kind"])
            assert row["mask_counts"] is row["uncertainty"] is row["symmetry"] is None
            continue
        mask, probability = decode_mask(row["mask_counts"], 90, 70), next(probabilities)
        kept = largest_components(probability[None] > 0.5, keep=2).masks[0].numpy()
        cleaned = np.where(kept | (probability <= 0.5).numpy(), probability, 0)
        upscaled = np.asarray(Image.fromarray(cleaned).resize((70, 90), Image.Resampling.BILINEAR))
        assert (mask == (upscaled > 0.5)).mean() > 0.98, "masks differ only where a probability is rounded to 8 bits"
        rim = (
            kept.sum() - (kept[1:-1, 1:-1] & kept[:-2, 1:-1] & kept[2:, 1:-1] & kept[1:-1, :-2] & kept[1:-1, 2:]).sum()
        )
        assert row["uncertainty"] == pytest.approx(float(pixel_entropy(probability).sum()) / max(1, rim), rel=1e-4)
        assert row["prompt"] is row["iou_prediction"] is None
    assert list(tmp_path.iterdir()) == [], "no additional file was asked for"


def test_a_row_does_not_depend_on_its_batch(segmenter_uri, loaded, tmp_path, monkeypatch):
    monkeypatch.setitem(FORWARD_BATCH, "cpu", 3)  # fewer than there are
    stage = stage_of(segmenter_uri, tmp_path)
    together = stage(loaded).drop_columns(["scored_at"]).to_pylist()
    alone = [stage(loaded.slice(i, 1)).drop_columns(["scored_at"]).to_pylist()[0] for i in range(loaded.num_rows)]
    for one, other in zip(together, alone, strict=True):
        for name in ("uncertainty", *(field.name for field in LUNG_FIELDS)):
            figures = one.pop(name), other.pop(name)
            assert figures == (None, None) or figures[0] == pytest.approx(figures[1], rel=1e-3)
        assert one == other


def test_a_segmenter_that_gives_no_number_makes_error_rows(save_segmenter, loaded, tmp_path):
    rows = stage_of(save_segmenter(tmp_path / "broken", fill=math.nan), tmp_path)(loaded).to_pylist()
    assert {row["status"] for row in rows} == {"error"}
    assert sum(row["error_kind"] == "not_finite" for row in rows) == 4


def test_pieces_below_the_minimum_area_are_removed(segmenter_uri, loaded, tmp_path):
    rows = stage_of(segmenter_uri, tmp_path, min_area=0.999)(loaded).to_pylist()
    assert {row["status"] for row in rows} == {"empty", "error"}


def test_additional_files_are_written_for_every_mask(segmenter_uri, loaded, tmp_path):
    rows = stage_of(segmenter_uri, tmp_path, save_overlays=True, save_uncertainty=True)(loaded).to_pylist()
    names = {f"{row['image_id']}.png" for row in rows if row["status"] != "error"}
    for folder in ("overlays", "uncertainty"):
        assert {path.name for path in (tmp_path / folder).iterdir()} == names
    entropy = pixel_entropy(
        Segmenter(segmenter_uri, device="cpu", precision="fp32").predict(pixels_of(loaded, FRAME)[0])
    )
    with Image.open(tmp_path / "uncertainty" / f"{rows[0]['image_id']}.png") as picture:
        shades = np.asarray(picture).astype(float) / 65535
    np.testing.assert_allclose(shades, entropy[0] / math.log(2), atol=1e-4)


def test_a_forward_pass_has_the_batch_size_of_the_config(segmenter_uri, loaded, tmp_path, monkeypatch):
    stage, seen = stage_of(segmenter_uri, tmp_path, batch_size=3), []
    predict = stage.segmenter.predict
    monkeypatch.setattr(stage.segmenter, "predict", lambda pixels: (seen.append(len(pixels)), predict(pixels))[1])
    stage(loaded)
    assert seen == [3, 1]


def test_every_value_of_both_lungs_has_its_column():
    lungs = {
        side: Lung(area_fraction=i, centroid_xy=(i + 1, i + 2), uncertainty=i + 3)
        for i, side in enumerate(("right", "left"))
    }
    found = LungFigures(uncertainty=0.5, symmetry=0.25, **lungs)
    columns = lung_columns(found)
    assert set(columns) == {"uncertainty", *(field.name for field in LUNG_FIELDS)}
    assert [columns[f"left_{name}"] for name in ("area_fraction", "centroid_x", "centroid_y", "uncertainty")] == [
        1,
        2,
        3,
        4,
    ]
    assert set(lung_columns(replace(found, left=None))) == {name for name in columns if not name.startswith("left_")}


def test_a_job_names_a_segmenter_or_both_models_of_text():
    for models in ({}, {"clip_uri": "c"}, {"model_uri": "m", "clip_uri": "c", "sam_uri": "s"}):
        with pytest.raises(ConfigError, match=r"give either --model-uri \(a segmenter\), or both"):
            SegmentConfig(input_uri="i", output_uri="o", **models)
