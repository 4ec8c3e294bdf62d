"""Tests of the stage of segmentation by text without Ray, on loaded rows of every kind, with tiny random models."""

import math

import numpy as np
import pyarrow as pa
import pydicom
import pytest
import torch
from PIL import Image

from cxr_ray.config.segmentation import MaskFiles, TextModels, TextSettings
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.mask_rle import decode_mask
from cxr_ray.imaging.mask_runs import runs_of
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.schema import MASKS
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.load import LoadStage, pixels_of
from cxr_ray.scoring.stages.segment_by_text import CLIP_FRAME, SAM_IMAGE, TextStage
from cxr_ray.scoring.stages.segment_outputs import SegmentOutputs, name_inside

PROVENANCE = {"model_id": "m", "preprocessing_id": "p", "run_id": "r"}


@pytest.fixture(scope="module")
def loaded(archive):
    limits = DecodeLimits(max_megapixels=1.0)
    (table,) = LoadStage(geometries=(CLIP_FRAME, SAM_IMAGE), limits=limits, patient_secret=PatientSecret(b"s"))(archive)
    return table


def stage_of(weights, output, *, files=None, **settings):
    return TextStage(
        models=TextModels(**weights), settings=TextSettings(**{"layer": 1, "steps": 3, "draws": 2} | settings),
        outputs=SegmentOutputs(str(output), files or MaskFiles()), precision="fp32",
        hashes={}, device="cpu", threads=1, provenance=PROVENANCE,
    )  # fmt: skip


def test_every_image_is_a_row_with_its_mask_at_its_own_size(segmenting_weights, loaded, tmp_path):
    rows = stage_of(segmenting_weights, tmp_path)(loaded)
    assert rows.schema == MASKS
    assert rows["image_id"].to_pylist() == loaded["image_id"].to_pylist()
    for before, row in zip(loaded.to_pylist(), rows.to_pylist(), strict=True):
        assert {name: row[name] for name in PROVENANCE} == PROVENANCE
        if before["status"] == "error":
            assert (row["status"], row["error_kind"]) == ("error", before["error_kind"])
            assert row["mask_counts"] is row["boxes_xyxy"] is row["area_fraction"] is row["prompt"] is None
            continue
        mask = decode_mask(row["mask_counts"], row["mask_height"], row["mask_width"])
        assert mask.shape == (90, 70) == (row["height"], row["width"])
        assert row["area_fraction"] == pytest.approx(mask.mean())
        assert row["status"] == ("ok" if mask.any() else "empty")
        assert 1 <= len(row["boxes_xyxy"]) <= 2
        for x0, y0, x1, y1 in row["boxes_xyxy"]:
            assert 0 <= x0 < x1 <= 70
            assert 0 <= y0 < y1 <= 90
    assert list(tmp_path.iterdir()) == [], "no additional file was asked for"


def test_a_row_does_not_depend_on_its_batch(segmenting_weights, loaded, tmp_path):
    stage = stage_of(segmenting_weights, tmp_path)
    together = stage(loaded).drop_columns(["scored_at"]).to_pylist()
    alone = [stage(loaded.slice(i, 1)).drop_columns(["scored_at"]).to_pylist()[0] for i in range(loaded.num_rows)]
    for one, other in zip(together, alone, strict=True):
        assert one.pop("iou_prediction") == pytest.approx(other.pop("iou_prediction"), abs=1e-4)
        assert one == other


def test_an_empty_coarse_mask_is_a_status(segmenting_weights, loaded, tmp_path):
    rows = stage_of(segmenting_weights, tmp_path, min_area=0.999)(loaded).to_pylist()
    assert {row["status"] for row in rows} == {"empty", "error"}
    for row in rows:
        if row["status"] == "empty":
            assert (row["area_fraction"], row["boxes_xyxy"], row["iou_prediction"]) == (0.0, [], None)
            assert not decode_mask(row["mask_counts"], 90, 70).any()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"prompt_kind": "points"}, {"prompt_kind": "both", "one_box": True}])
def test_other_prompts_give_other_masks(segmenting_weights, loaded, tmp_path, options):
    by_boxes, others = (stage_of(segmenting_weights, tmp_path, **o)(loaded)["mask_counts"] for o in ({}, options))
    assert by_boxes != others


def test_images_of_a_class_are_segmented_by_its_prompts(segmenting_weights, loaded, tmp_path):
    mixed, by_class, by_default = (
        stage_of(segmenting_weights, tmp_path, prompts=prompts, class_prompts=class_prompts)
        for prompts, class_prompts in (
            (("lungs",), {"COVID": ["left lung", "field"]}),
            (("left lung", "field"), {}),
            (("lungs",), {}),
        )
    )
    frames = pixels_of(loaded, CLIP_FRAME)[0][:3]
    maps = mixed.segmenter.saliency(frames, "abc", ["COVID", None, "Normal"])
    torch.testing.assert_close(maps[:1], by_class.segmenter.saliency(frames[:1], "a"), atol=5e-5, rtol=0)
    torch.testing.assert_close(maps[1:], by_default.segmenter.saliency(frames, "abc")[1:], atol=5e-5, rtol=0)
    assert (maps[0] - by_default.segmenter.saliency(frames[:1], "a")[0]).abs().max() > 3e-4
    labels = ["COVID" if i % 2 else None for i in range(loaded.num_rows)]
    rows = mixed(loaded.append_column("label", pa.array(labels))).to_pylist()
    for row, label in zip(rows, labels, strict=True):
        if row["status"] != "error":
            assert row["prompt"] == ("left lung; field" if label else "lungs")


def test_additional_files_are_written_for_every_mask(segmenting_weights, loaded, tmp_path):
    files = MaskFiles(save_overlays=True, save_saliency=True, save_dicom_seg=True)
    rows = stage_of(segmenting_weights, tmp_path, files=files)(loaded).to_pylist()
    with_mask = {row["image_id"] for row in rows if row["status"] != "error"}
    assert {path.name for path in (tmp_path / "overlays").iterdir()} == {f"{name}.png" for name in with_mask}
    (dicom,) = [row for row in rows if row["format"] == "dicom"]
    assert (dicom["status"], dicom["error"]) == ("ok", "no DICOM segmentation could be made (AttributeError)"), (
        "no study"
    )
    saliency = np.asarray(Image.open(tmp_path / "saliency/a.png.png"))
    assert (saliency.shape, saliency.min(), saliency.max()) == ((64, 64), 0, 65535)
    assert np.asarray(Image.open(tmp_path / "overlays/a.png.png")).shape == (90, 70, 3)


def test_models_that_give_no_number_make_error_rows(segmenting_weights, loaded, tmp_path):
    sound = stage_of(segmenting_weights, tmp_path)(loaded).to_pylist()
    assert any(row["status"] == "ok" for row in sound)
    for damaged in ("clip", "sam"):
        stage = stage_of(segmenting_weights, tmp_path)
        model = stage.segmenter.clip.vision if damaged == "clip" else stage.segmenter.sam.model.mask_decoder
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(math.nan)
        for before, row in zip(sound, stage(loaded).to_pylist(), strict=True):
            kind = "not_finite" if before["status"] == "ok" else before["error_kind"]
            assert (row["error_kind"], row["mask_counts"]) == (kind, None), damaged


@pytest.mark.slow
def test_a_dicom_image_gets_a_dicom_segmentation(tmp_path):
    write_phantom_archive(str(tmp_path / "in"), images_per_class=1, size=64, dicom_fraction=1.0, jpeg_fraction=0.0)
    path = next((tmp_path / "in").rglob("*.dcm"))
    outputs = SegmentOutputs(str(tmp_path), MaskFiles(save_dicom_seg=True))
    row = {"image_id": "a/x.dcm", "uri": str(path), "format": "dicom", "patient_key": "k"}
    mask = np.zeros((pydicom.dcmread(path).Rows, pydicom.dcmread(path).Columns), bool)
    mask[9:20, 5:30] = True
    assert outputs.write(row, None, runs_of(mask)) is None
    assert np.array_equal(pydicom.dcmread(tmp_path / "dicom_seg/a/x.dcm.seg.dcm").pixel_array, mask)


def test_a_deleted_file_loses_only_its_dicom_segmentation(loaded, tmp_path):
    (row,) = [row for row in loaded.to_pylist() if row["format"] == "dicom"]
    outputs = SegmentOutputs(str(tmp_path), MaskFiles(save_dicom_seg=True))
    gone = row | {"uri": str(tmp_path / "gone.dcm")}
    assert outputs.write(gone, None, runs_of(np.ones((90, 70), bool))) == (
        "no DICOM segmentation could be made (StorageError)"
    )


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("COVID/images/1.png", "COVID/images/1.png"),
        ("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"),
        ("/data//x.png", "data/x.png"),
        ("a/./...b/..", "a/%2E/...b/%2E%2E"),
        ("s3://bucket/x", "s3:/bucket/x"),
    ],
)
def test_no_name_leaves_the_folder_of_the_output(name, inside):
    assert name_inside(name) == inside
