"""Tests that a model applied to one image gives the values of the archive jobs' stages, for files of every kind."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.config.segmentation import MaskFiles, SegmenterSettings
from cxr_ray.errors import ImageError
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.mask_rle import decode_mask
from cxr_ray.imaging.radiograph import load_image
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.segmenter import Segmenter
from cxr_ray.schema import probability_column
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.classify import ClassifyStage
from cxr_ray.scoring.stages.load import Geometry, LoadStage
from cxr_ray.scoring.stages.segment_by_model import SegmenterStage
from cxr_ray.scoring.stages.segment_outputs import SegmentOutputs

LIMITS = DecodeLimits(max_megapixels=1.0)
LABELS = ("COVID", "Lung_Opacity", "Normal", "Viral_Pneumonia")


@pytest.fixture(scope="module")
def block(archive, tmp_path_factory):
    """The archive and a JPEG with an EXIF rotation, so large that scoring decodes it at half its size."""
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    grain = np.random.default_rng(5).integers(0, 256, (920, 1000), dtype=np.uint8)
    Image.fromarray(grain).save(path, quality=90, exif=exif)
    row = {"image_id": path.name, "uri": str(path), "size_bytes": None}
    return pa.concat_tables([archive, pa.Table.from_pylist([row], schema=archive.schema)])


def loaded(block, *sizes):
    geometries = tuple(Geometry(image_size=size, interpolation="bilinear") for size in sizes)
    (table,) = LoadStage(geometries=geometries, limits=LIMITS, patient_secret=PatientSecret(b"s"))(block)
    return table


@pytest.fixture(scope="module")
def rows_in_error(block):
    return {row["uri"]: row for row in loaded(block, 32).to_pylist() if row["status"] == "error"}


@pytest.mark.slow
@pytest.mark.parametrize("labels", [LABELS, ("Pneumonia",)])
def test_a_classifier_says_what_the_archive_job_writes(save_random, tmp_path, block, labels):
    save_random(tmp_path / "bundle", labels=labels)
    options = {"device": "cpu", "precision": "fp32"}
    stage = ClassifyStage(model_uris=(str(tmp_path / "bundle"),), engine="openvino", threads=1, run_id="r", **options)
    classifier = Classifier(str(tmp_path / "bundle"), **options)
    rows = [row for row in stage(loaded(block, 32)).to_pylist() if row["status"] == "ok"]
    assert {row["format"] for row in rows} == {"png", "jpeg", "dicom"}
    assert "large.jpg" in {row["image_id"] for row in rows}
    for row in rows:
        image = load_image(row["uri"], limits=LIMITS)
        found = classifier.classify(image)
        assert (image.height, image.width, image.content_sha256) == (row["height"], row["width"], row["content_sha256"])
        assert found.label == row["label"]
        assert found.confidence == pytest.approx(row["confidence"], abs=1e-5)
        assert found.entropy == pytest.approx(row["entropy"], abs=1e-4)
        assert tuple(found.probabilities) == labels
        for label, probability in found.probabilities.items():
            assert probability == pytest.approx(row[probability_column(label)], abs=1e-5)


def test_a_segmenter_draws_what_the_archive_job_writes(segmenter_uri, tmp_path, block):
    options = {"foreground": 0.48, "components": 3, "min_area": 0.001}
    stage = SegmenterStage(
        model_uri=segmenter_uri,
        settings=SegmenterSettings(**options),
        outputs=SegmentOutputs(str(tmp_path), MaskFiles()),
        engine="openvino",
        precision="fp32",
        batch_size=None,
        device="cpu",
        threads=1,
        provenance={"model_id": "m", "preprocessing_id": "p", "run_id": "r"},
    )
    segmenter = Segmenter(segmenter_uri, device="cpu", precision="fp32")
    table, some_lung = loaded(block, 32), False
    for position in range(
        table.num_rows
    ):  # a batch of one image, because the last bits of a sum depend on the size of the batch
        (row,) = stage(table.slice(position, 1)).to_pylist()
        if row["status"] == "error":
            continue
        found = segmenter.segment(load_image(row["uri"], limits=LIMITS), **options)
        mask = decode_mask(row["mask_counts"], row["height"], row["width"])
        assert (found.mask != mask).mean() < 1e-3  # engines add in another order
        assert found.area_fraction == pytest.approx(row["area_fraction"])
        assert found.uncertainty == pytest.approx(row["uncertainty"])
        np.testing.assert_allclose(found.boxes_xyxy, np.reshape(row["boxes_xyxy"], (-1, 4)))
        assert found.symmetry == (row["symmetry"] if row["symmetry"] is None else pytest.approx(row["symmetry"]))
        for side, lung in (("right", found.right), ("left", found.left)):
            figures = [row[f"{side}_{name}"] for name in ("area_fraction", "centroid_x", "centroid_y", "uncertainty")]
            if lung is None:
                assert figures == [None] * 4
            else:
                assert [lung.area_fraction, *lung.centroid_xy, lung.uncertainty] == pytest.approx(figures)
                some_lung = True
    assert some_lung


def test_a_broken_file_has_the_kind_of_its_row(rows_in_error):
    assert {row["error_kind"] for row in rows_in_error.values()} >= {"truncated", "empty", "not_found", "too_large"}
    for uri, row in rows_in_error.items():
        if row["image_id"] == "huge.png":
            continue  # only a listing gives its size
        with pytest.raises(ImageError) as caught:
            load_image(uri, limits=LIMITS)
        assert (caught.value.kind, caught.value.reason) == (row["error_kind"], row["error"])


def test_a_model_that_gives_no_number_is_an_error_of_the_image(save_random, save_segmenter, tmp_path, block):
    uri = block["uri"][0].as_py()
    save_random(tmp_path / "bundle", nan=True)
    with pytest.raises(ImageError, match=r"a\.png: not_finite: "):
        Classifier(str(tmp_path / "bundle"), device="cpu").classify(load_image(uri))
    segmenter_uri = save_segmenter(tmp_path / "segmenter", fill=float("nan"))
    with pytest.raises(ImageError, match=r"a\.png: not_finite: "):
        Segmenter(segmenter_uri, device="cpu").segment(load_image(uri))


def test_an_option_out_of_its_range_is_refused(segmenter_uri, block):
    image = load_image(block["uri"][0].as_py())
    with pytest.raises(ValueError, match="foreground must be above 0 and below 1; got 1"):
        Segmenter(segmenter_uri, device="cpu").segment(image, foreground=1)
