import hashlib
import hmac
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.imaging.decode import DecodeLimits, decode_image
from cxr_ray.imaging.quality.flags import quality_flags
from cxr_ray.imaging.quality.orientation import OrientationModel, bundled_model
from cxr_ray.imaging.resize import resize_image
from cxr_ray.phantoms.phantom import draw_phantom
from cxr_ray.phantoms.phantom_files import Shot, dicom_bytes, dicom_of
from cxr_ray.schema import loaded_schema
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.load import ROWS_AT_ONCE, Geometry, LoadStage, pixels_of

SMALL = Geometry(image_size=32, interpolation="bilinear")
LARGE = Geometry(image_size=48, interpolation="bicubic")
SECRET = b"a secret of the hospital"

EXPECTED = {
    "a.png": None,
    "b.jpg": None,
    "cut.png": "truncated",
    "empty.png": "empty",
    "missing.png": "not_found",
    "notes.png": "unsupported",
    "wide.png": "too_large",
    "z.png": None,
    "x.dcm": None,
    "huge.png": "too_large",
}


def load(block, *geometries, max_megapixels=1.0):
    stage = LoadStage(
        geometries=geometries or (SMALL,),
        limits=DecodeLimits(max_megapixels=max_megapixels),
        patient_secret=PatientSecret(SECRET),
    )
    return list(stage(block))


@pytest.fixture(scope="module")
def loaded(archive):
    (table,) = load(archive, SMALL, LARGE)
    return table


def test_every_input_gives_one_row_in_its_order_even_if_it_is_broken(loaded):
    assert dict(zip(loaded["image_id"].to_pylist(), loaded["error_kind"].to_pylist(), strict=True)) == EXPECTED
    assert loaded["image_id"].to_pylist() == list(EXPECTED)


def test_columns_are_those_of_the_results_and_one_of_pixels_for_each_geometry(loaded):
    pixels = [pa.field("pixels_32_bilinear", pa.binary(32 * 32)), pa.field("pixels_48_bicubic", pa.binary(48 * 48))]
    assert loaded.schema == pa.schema([*loaded_schema(), *pixels])


def test_other_columns_of_the_block_are_carried_along(archive, monkeypatch):
    monkeypatch.setattr("cxr_ray.scoring.stages.load.ROWS_AT_ONCE", 4)
    labels = [f"label of {image_id}" for image_id in archive["image_id"].to_pylist()]
    tables = load(archive.append_column("label", pa.array(labels)), SMALL)
    assert [table.num_rows for table in tables] == [4, 4, 2]
    for row in pa.concat_tables(tables).to_pylist():
        assert row["label"] == f"label of {row['image_id']}"


def test_a_row_has_either_pixels_or_an_error(loaded):
    for row in loaded.to_pylist():
        is_error = row["status"] == "error"
        assert row["status"] in ("ok", "error")
        assert is_error == (row["error_kind"] is not None) == (row["error"] is not None)
        assert is_error == (row["pixels_32_bilinear"] is None) == (row["pixels_48_bicubic"] is None)
        assert "\n" not in (row["error"] or "")


def test_pixels_equal_the_resized_image(loaded, radiograph):
    rows = {row["image_id"]: row for row in loaded.to_pylist()}
    displayed = decode_image(Path(rows["x.dcm"]["uri"]).read_bytes()).pixels
    for name, pixels in (("a.png", radiograph), ("z.png", 255 - radiograph), ("x.dcm", displayed)):
        assert rows[name]["pixels_32_bilinear"] == resize_image(pixels, 32, "bilinear").tobytes()
        assert rows[name]["pixels_48_bicubic"] == resize_image(pixels, 48, "bicubic").tobytes()
        assert (rows[name]["width"], rows[name]["height"]) == (70, 90)


def test_content_hash_of_what_was_downloaded(loaded, archive):
    hashes = dict(zip(loaded["image_id"].to_pylist(), loaded["content_sha256"].to_pylist(), strict=True))
    for row in archive.to_pylist():
        if row["image_id"] in ("missing.png", "huge.png"):
            assert hashes[row["image_id"]] is None
        else:
            assert hashes[row["image_id"]] == hashlib.sha256(Path(row["uri"]).read_bytes()).hexdigest()


def test_dicom_tags_come_along_and_the_patient_only_as_a_keyed_hash(loaded):
    row = next(row for row in loaded.to_pylist() if row["image_id"] == "x.dcm")
    assert (row["modality"], row["view_position"], row["sop_uid"]) == ("DX", "PA", "1.2.3.4")
    assert (row["study_uid"], row["series_uid"]) == (None, None)
    assert row["patient_key"] == hmac.new(SECRET, b"MRN-0042", hashlib.sha256).hexdigest()[:16]
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, loaded.schema) as writer:
        writer.write_table(loaded)
    assert b"x.dcm" in sink.getvalue()
    for secret in (b"MRN-0042", b"Roe", b"Jane", SECRET):
        assert secret not in sink.getvalue()


def test_the_flags_of_an_image_are_those_of_its_largest_pixels(loaded):
    for row in loaded.to_pylist():
        if row["status"] == "error":
            assert row["qc_flags"] is None
        else:
            pixels = np.frombuffer(row["pixels_48_bicubic"], np.uint8).reshape(48, 48)
            assert row["qc_flags"] == quality_flags(pixels)


def test_an_inverted_radiograph_and_what_a_header_says_are_flagged(tmp_path):
    shot = Shot(label="Normal", name="a", suffix=".dcm", patient_id="p", patient=1, seed=2)
    phantom = draw_phantom("Normal", seed=3, size=96)
    dataset = dicom_of(phantom, shot)
    dataset.BurnedInAnnotation, dataset.BodyPartExamined = "YES", "ABDOMEN"
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(dataset))
    Image.fromarray(255 - phantom.pixels).save(tmp_path / "b.png")
    uris = [str(tmp_path / name) for name in ("a.dcm", "b.png")]
    (table,) = load(pa.table({"image_id": ["a", "b"], "uri": uris, "size_bytes": [None, None]}))
    assert table["qc_flags"].to_pylist() == [["burned_in_text", "not_chest"], ["inverted"]]


def test_an_orientation_may_be_given(archive):
    opposite = OrientationModel(weights=-bundled_model().weights)
    stage = LoadStage(
        geometries=(SMALL,), limits=DecodeLimits(), patient_secret=PatientSecret(SECRET), orientation=opposite
    )
    (table,) = stage(archive.slice(0, 1))
    pixels = np.frombuffer(table["pixels_32_bilinear"][0].as_buffer(), np.uint8).reshape(32, 32)
    assert table["qc_flags"].to_pylist() == [quality_flags(pixels, model=opposite)]


def test_a_dicom_file_whose_pixels_are_refused_keeps_its_tags(archive):
    (table,) = load(archive.slice(8, 1), max_megapixels=0.001)
    (row,) = table.to_pylist()
    assert (row["error_kind"], row["modality"]) == ("too_large", "DX")
    assert row["patient_key"] == PatientSecret(SECRET).key_of("MRN-0042")


def test_a_large_jpeg_reports_its_full_size(tmp_path):
    Image.fromarray(np.full((1400, 1800), 90, np.uint8)).save(tmp_path / "large.jpg")
    block = pa.table({"image_id": ["j"], "uri": [str(tmp_path / "large.jpg")], "size_bytes": [None]})
    (table,) = load(block, max_megapixels=3.0)
    (row,) = table.to_pylist()
    assert (row["width"], row["height"], len(row["pixels_32_bilinear"])) == (1800, 1400, 32 * 32)


def test_many_images_come_in_tables_of_bounded_size(tmp_path):
    count = 2 * ROWS_AT_ONCE + 3
    for shade in range(4):
        Image.fromarray(np.full((8, 8), 60 * shade, np.uint8)).save(tmp_path / f"{shade}.png")
    uris = [str(tmp_path / ("missing" if i % 7 == 0 else f"{i % 4}.png")) for i in range(count)]
    tables = load(pa.table({"image_id": list(map(str, range(count))), "uri": uris, "size_bytes": [100] * count}))
    assert [table.num_rows for table in tables] == [ROWS_AT_ONCE, ROWS_AT_ONCE, 3]
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["image_id"] for row in rows] == list(map(str, range(count)))
    for i, row in enumerate(rows):
        assert row["pixels_32_bilinear"] == (None if i % 7 == 0 else bytes([60 * (i % 4)]) * 1024)


def test_an_empty_block_gives_nothing(archive):
    assert load(archive.slice(0, 0)) == []


def pixel_table(*values):
    """Make a table of 2x2 images, each filled with one of `values`; None gives a null."""
    tiny = Geometry(image_size=2, interpolation="bilinear")
    return pa.table({tiny.column: pa.array([None if v is None else bytes([v] * 4) for v in values], pa.binary(4))})


@pytest.mark.parametrize(
    "table",
    [
        pixel_table(1, 2, 3),
        pixel_table(1, None, 3),
        pixel_table(None, None),
        pixel_table(),
        pixel_table(0, 1, None, 3, 4, 5).slice(1, 3),
        pixel_table(0, 1, 2, 3).slice(2),
        pixel_table(0, None, 2).slice(3),
        pa.concat_tables([pixel_table(1, None), pixel_table(), pixel_table(3, 4)]),
        pa.concat_tables([pixel_table(9, 1, None).slice(1), pixel_table(9, 9, 4, 5).slice(2, 1)]),
        pa.concat_tables([pixel_table(1, 2), pixel_table(3, None)]).slice(1, 2),
        pixel_table(1, 2).slice(0, 0),
        pixel_table().schema.empty_table(),
        pixel_table(1, 2, None).take(pa.array([2, 0, 0])),
    ],
)
def test_pixels_of_any_arrow_table(table):
    values = table[0].to_pylist()
    pixels, present = pixels_of(table, Geometry(image_size=2, interpolation="bilinear"))
    assert pixels.dtype == np.uint8
    assert present.dtype == np.bool_
    assert present.tolist() == [value is not None for value in values]
    assert pixels.shape == (present.sum(), 2, 2)
    assert [image.tobytes() for image in pixels] == [value for value in values if value is not None]


def test_whole_columns_are_not_copied():
    table = pixel_table(1, 2, 3)
    pixels, _ = pixels_of(table, Geometry(image_size=2, interpolation="bilinear"))
    assert pixels.ctypes.data == table[0].chunk(0).buffers()[1].address


def test_pixels_do_not_depend_on_other_geometries(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1000), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    block = pa.table({"image_id": ["a.jpg"], "uri": [str(tmp_path / "a.jpg")], "size_bytes": pa.nulls(1, pa.int64())})
    frame, larger = SMALL, Geometry(image_size=400, interpolation="bilinear")
    (together,), (alone,) = load(block, larger, frame), load(block, frame)
    assert together[frame.column].to_pylist() == alone[frame.column].to_pylist()
