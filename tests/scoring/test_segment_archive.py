"""Tests of the segmentation job on a real Ray cluster, with tiny models of random weights."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from cxr_ray.config import SegmentConfig
from cxr_ray.config.segmentation import TextSettings
from cxr_ray.errors import ResumeError, StorageError
from cxr_ray.imaging.mask_rle import decode_mask
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.schema import MASKS
from cxr_ray.scoring.segment_archive import segment_archive, settings_id, warn_of_files_too_late

OPTIONS = {"layer": 1, "steps": 2, "draws": 2, "precision": "fp32", "max_error_rate": 1.0, "exclude": ("*/masks/*",)}


def config_of(input_uri, output, weights, **options):
    return SegmentConfig(input_uri=str(input_uri), output_uri=str(output), **OPTIONS | weights | options)


@pytest.mark.cluster
@pytest.mark.slow
def test_every_image_is_segmented_once_and_the_same_command_resumes(ray_cluster, segmenting_weights, tmp_path):
    archive = write_phantom_archive(str(tmp_path / "in"), images_per_class=2, size=64, broken=5, dicom_fraction=0.3)
    config = config_of(archive.uri, tmp_path / "out", segmenting_weights, save_dicom_seg=True)
    counts = segment_archive(config)
    assert counts["error"] == len(archive.broken)
    assert counts.get("ok", 0) + counts.get("empty", 0) == archive.images
    rows = pq.read_table(tmp_path / "out/masks")
    assert rows.schema.remove_metadata() == MASKS
    ids = rows["image_id"].to_pylist()
    assert len(ids) == len(set(ids)) == archive.images + len(archive.broken)
    for row in rows.to_pylist():
        if row["status"] != "error":
            assert decode_mask(row["mask_counts"], row["height"], row["width"]).mean() == pytest.approx(
                row["area_fraction"]
            )
    dicoms = [row for row in rows.to_pylist() if row["format"] == "dicom" and row["status"] == "ok"]
    assert dicoms
    assert all(row["error"] is None for row in dicoms)
    assert {f"{row['image_id']}.seg.dcm" for row in dicoms} == {
        str(path.relative_to(tmp_path / "out/dicom_seg")) for path in (tmp_path / "out/dicom_seg").rglob("*.dcm")
    }
    record = json.loads(Path(tmp_path / "out/run.json").read_text())
    assert record["model_ids"] == rows["model_id"][0].as_py().split("+")
    Image.effect_noise((50, 40), 60).save(tmp_path / "in/COVID/images/new.png")
    assert sum(segment_archive(config)[status] for status in counts if ":" not in status) == len(ids) + 1
    again = pq.read_table(tmp_path / "out/masks").sort_by("image_id")
    assert set(again["run_id"].value_counts().field("counts").to_pylist()) == {1, len(ids)}
    with pytest.raises(
        ResumeError, match=r"holds rows made with beta 0\.1; this command has beta 0\.5; choose another"
    ):
        segment_archive(config_of(archive.uri, tmp_path / "out", segmenting_weights, beta=0.5))


@pytest.mark.parametrize(("options", "is_warned"), [({}, False), ({"save_overlays": True}, True)])
def test_a_warning_says_that_existing_rows_get_no_additional_files(options, is_warned, tmp_path, caplog):
    config = config_of(tmp_path, tmp_path / "out", {"clip_uri": "c", "sam_uri": "s"}, **options)
    with caplog.at_level("WARNING", "cxr_ray"):
        warn_of_files_too_late(config)
        assert not caplog.text, "the output has no row yet"
        (tmp_path / "out/masks").mkdir(parents=True)
        (tmp_path / "out/masks/0.parquet").touch()
        warn_of_files_too_late(config)
    assert ("get no overlays; --overwrite segments all images again" in caplog.text) == is_warned


def test_missing_weights_are_named_before_anything_starts(segmenting_weights, tmp_path):
    weights = segmenting_weights | {"sam_uri": str(tmp_path / "nowhere.pth")}
    with pytest.raises(StorageError, match=r"nowhere\.pth"):
        segment_archive(config_of(tmp_path, tmp_path / "out", weights))
    assert not (tmp_path / "out").exists()


def test_every_setting_changes_the_id_of_the_preprocessing():
    base = settings_id(TextSettings())
    assert settings_id(TextSettings()) == base
    for other in ({"prompts": ("heart",)}, {"layer": 2}, {"one_box": True}, {"seed": 1}, {"threshold": "fixed"}):
        assert settings_id(TextSettings(**other)) != base
