import dataclasses
import io
import json
import os
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from cxr_ray.archive import manifest
from cxr_ray.archive.fetch import Fetched, fetch_objects
from cxr_ray.archive.manifest import IndexCounts, batched, index_archive
from cxr_ray.archive.recognise import PICTURE_MARK
from cxr_ray.archive.uris import join_uri, open_filesystem, write_bytes
from cxr_ray.config import IndexConfig
from cxr_ray.errors import StorageError
from cxr_ray.schema import MANIFEST


def picture(kind: str = "PNG", size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (size, size), 128).save(buffer, kind)
    return buffer.getvalue()


DICOM = bytes(128) + b"DICM\x02\0\0\0UL\x04\0"


def put(prefix: str, contents: dict[str, bytes]) -> str:
    for name, data in contents.items():
        write_bytes(join_uri(prefix, name), data)
    return prefix


def index(input_uri: object, output_uri: object, **choices: object) -> IndexCounts:
    return index_archive(IndexConfig(input_uri=str(input_uri), output_uri=str(output_uri), **choices))


def formats(manifest: Path) -> dict[str, str | None]:
    table = pq.read_table(manifest)
    return dict(zip(table["image_id"].to_pylist(), table["format"].to_pylist(), strict=True))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    put(str(tmp_path / "archive"), {f"{name}.png": picture() for name in ("a/1", "a/2", "b #é/1", "c")})
    return tmp_path / "archive"


def test_a_row_for_every_image(archive, tmp_path, capsys):
    counts = index(archive, tmp_path / "m.parquet")
    size = 4 * len(picture())
    assert counts == IndexCounts(images=4, bytes=size, new=4)
    table = pq.read_table(tmp_path / "m.parquet")
    assert table.schema.equals(MANIFEST)
    assert table["image_id"].to_pylist() == ["a/1.png", "a/2.png", "b #é/1.png", "c.png"]
    assert table["uri"].to_pylist() == [f"{archive}/{name}" for name in table["image_id"].to_pylist()]
    assert set(table["format"].to_pylist()) == {"png"}
    assert "4 images, 0.00 GB in" in capsys.readouterr().out


def test_formats_are_told_by_content_and_never_by_name(tmp_path):
    contents = {
        "png.jpg": picture("PNG"),
        "jpeg.dcm": picture("JPEG"),
        "1.2.840.113": DICOM,
        "IM0001": DICOM,
        "image.txt": picture("PNG"),
        "table.csv": DICOM,
        "text.png": b"no image at all",
        "empty.png": b"",
        "metadata.csv": b"path,label\n",
        "readme.MD": b"# hello",
        "empty.json": b"",
        "page.xml": b"<?xml version='1.0'?>",
        "unknown": b"?",
    }
    counts = index(put(str(tmp_path / "archive"), contents), tmp_path)
    assert formats(tmp_path / "manifest.parquet") == {
        "1.2.840.113": "dicom",
        "IM0001": "dicom",
        "empty.png": None,
        "image.txt": "png",
        "jpeg.dcm": "jpeg",
        "page.xml": "xml",
        "png.jpg": "png",
        "table.csv": "dicom",
        "text.png": None,
        "unknown": None,
    }
    assert counts.skipped == 3


def test_where_the_name_says_image_it_may_be_believed(tmp_path):
    contents = {"a.jpg": picture(), "b": picture(), "c.txt": picture(), "d.txt": b"text"}
    index(put(str(tmp_path / "archive"), contents), tmp_path, recognise="name")
    assert formats(tmp_path / "manifest.parquet") == {"a.jpg": None, "b": "png", "c.txt": "png"}


def test_a_second_run_tells_new_changed_and_gone(archive, tmp_path):
    index(archive, tmp_path)
    put(str(archive), {"a/0.png": picture(), "a/2.png": picture("JPEG"), "z.png": picture()})
    (archive / "c.png").unlink()
    (archive / "b #é" / "1.png").unlink()
    counts = index(archive, tmp_path)
    assert (counts.images, counts.new, counts.changed, counts.removed) == (4, 2, 1, 2)
    expected = {"a/0.png": "png", "a/1.png": "png", "a/2.png": "jpeg", "z.png": "png"}
    assert formats(tmp_path / "manifest.parquet") == expected


def test_what_did_not_change_is_not_read_again(archive, tmp_path):
    index(archive, tmp_path)
    before = (archive / "c.png").stat()
    (archive / "c.png").write_bytes(b"\xff\xd8\xff" + bytes(before.st_size - 3))
    os.utime(archive / "c.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert index(archive, tmp_path) == IndexCounts(images=4, bytes=4 * before.st_size)
    assert formats(tmp_path / "manifest.parquet")["c.png"] == "png"
    os.utime(archive / "c.png")
    assert index(archive, tmp_path).changed == 1
    assert formats(tmp_path / "manifest.parquet")["c.png"] == "jpeg"


def test_an_image_that_became_a_sidecar_is_gone(tmp_path):
    archive = put(str(tmp_path / "archive"), {"a.txt": picture(), "b.png": picture()})
    index(archive, tmp_path)
    put(archive, {"a.txt": b"only words"})
    counts = index(archive, tmp_path)
    assert (counts.images, counts.removed, counts.skipped, counts.changed) == (1, 1, 1, 0)


def test_names_that_are_not_utf8_do_not_change_from_run_to_run(tmp_path):
    for name in (b"\xff.png", b"a.png", "日.png".encode()):
        folder = tmp_path / "archive"
        folder.mkdir(exist_ok=True)
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(picture())
    assert index(tmp_path / "archive", tmp_path).new == 3
    counts = index(tmp_path / "archive", tmp_path)
    assert (counts.images, counts.new, counts.changed, counts.removed) == (3, 0, 0, 0)


@pytest.mark.s3
def test_an_archive_in_s3_is_indexed_into_s3(bucket_uri):
    names = ["a/1.png", "a/50%.png", "b #é/[x].png", "日本 +.png"]
    put(f"{bucket_uri}/in #1", dict.fromkeys(names, picture()))
    assert index(f"{bucket_uri}/in #1", f"{bucket_uri}/out").new == 4
    put(f"{bucket_uri}/in #1", {"a/1.png": picture("JPEG"), "z.png": picture()})
    counts = index(f"{bucket_uri}/in #1", f"{bucket_uri}/out")
    assert (counts.images, counts.new, counts.changed, counts.removed) == (5, 1, 1, 0)
    fs, bucket = open_filesystem(bucket_uri)
    with fs.open(f"{bucket}/out/manifest.parquet") as file:
        table = pq.read_table(file)
    assert table["image_id"].to_pylist() == [*names[:3], "z.png", names[3]]
    assert table["format"].to_pylist() == ["jpeg", "png", "png", "png", "png"]
    assert all(table["etag"].to_pylist())


def test_every_reader_opens_the_folder_although_a_run_record_lies_in_it(archive, tmp_path):
    output = tmp_path / "out put"
    index(archive, output)
    assert sorted(path.name for path in output.iterdir()) == ["_manifest.run.json", "manifest.parquet"]
    assert pq.read_table(output).num_rows == 4
    assert duckdb.sql(f"SELECT count(*) FROM '{output}/*.parquet' WHERE format = 'png'").fetchall() == [(4,)]


def test_a_file_as_target_has_its_record_beside_it(archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    index("archive", "all images.parquet")
    assert pq.read_table(tmp_path / "all images.parquet")["uri"][0].as_py() == f"{archive}/a/1.png"
    record = json.loads((tmp_path / "_all images.run.json").read_text())
    assert record["config"]["input_uri"] == "archive"
    assert record["counts"]["new"] == 4


def test_a_manifest_in_the_archive_is_no_image_of_it(archive):
    index(archive, archive)
    assert index(archive, archive).images == 4


def test_excluded_names_are_left_out(archive, tmp_path):
    counts = index(archive, tmp_path, exclude=("a/*", "*é*"))
    assert (counts.images, counts.skipped) == (1, 3)


def test_a_folder_of_masks_beside_the_images_is_left_out_by_the_pattern_of_the_guide(tmp_path):
    archive = put(str(tmp_path / "archive"), dict.fromkeys(("images/1.png", "masks/1.png", "A/masks/1.png"), picture()))
    counts = index(archive, tmp_path, exclude=("*/masks/*",))
    assert (counts.images, counts.skipped) == (1, 2)


def test_a_pattern_that_matched_nothing_is_named(archive, tmp_path, caplog):
    index(archive, tmp_path, exclude=("a/*", "*/mask s/*", "none"))
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(
        f"--exclude '*/mask s/*' none matched nothing below {archive}; names there are relative to it"
    )
    caplog.clear()
    index(archive, tmp_path, exclude=("a/*", "a/1*"))
    assert not caplog.records


def test_outputs_of_jobs_in_the_archive_are_passed_over_and_said(archive, tmp_path, caplog):
    index(archive, tmp_path)
    put(f"{archive}/out", {"_state/masks.owner.json": b"{}", "overlays/c.png.png": picture(), "model.bin": b"?"})
    with caplog.at_level("INFO", logger="cxr_ray"):
        counts = index(archive, tmp_path)
    assert (counts.images, counts.new, counts.changed, counts.removed, counts.skipped) == (4, 0, 0, 0, 3)
    assert f"3 files in outputs of jobs below {archive} were passed over: out" in caplog.text


def test_an_excluded_output_is_excluded_and_the_pattern_counts_as_used(archive, tmp_path, caplog):
    put(f"{archive}/out", {"_state/masks.owner.json": b"{}", "overlays/c.png.png": picture()})
    assert index(archive, tmp_path, exclude=("out/*",)).skipped == 2
    assert not caplog.records


@pytest.mark.parametrize("recognise", ["content", "name"])
def test_pictures_that_a_job_drew_beside_the_images_are_passed_over(tmp_path, caplog, recognise):
    buffer = io.BytesIO()
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", PICTURE_MARK)
    Image.new("L", (8, 8)).save(buffer, "PNG", pnginfo=mark)
    contents = {"a.png": picture(), "a_prediction.png": buffer.getvalue(), "b_prediction.png": picture()}
    with caplog.at_level("INFO", logger="cxr_ray"):
        counts = index(put(str(tmp_path / "archive"), contents), tmp_path, recognise=recognise)
    assert list(formats(tmp_path / "manifest.parquet")) == ["a.png", "b_prediction.png"]
    assert counts.skipped == 1
    assert "1 pictures of predict_image.py were passed over, such as a_prediction.png" in caplog.text


def test_weights_in_an_archive_are_no_image(tmp_path):
    archive = put(str(tmp_path / "archive"), {"a.png": picture(), "model.safetensors": b"\x08\0\0\0\0\0\0\0{}      "})
    assert index(archive, tmp_path).images == 1


def test_what_cannot_be_read_may_be_an_image(tmp_path, monkeypatch):
    archive = put(str(tmp_path / "archive"), {"a.txt": DICOM, "b.txt": b"text"})
    monkeypatch.setattr(manifest, "fetch_objects", lambda uris, **heads: _without_the_first(uris))
    assert index(archive, tmp_path).skipped == 1
    assert formats(tmp_path / "manifest.parquet") == {"a.txt": None}


def test_what_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    archive = put(str(tmp_path / "archive"), {"a.txt": DICOM, "b.txt": b"text", "c.png": picture()})
    with monkeypatch.context() as broken:
        failed = Fetched(error_kind="download_failed", error="slow down")
        broken.setattr(manifest, "fetch_objects", lambda uris, **_: [failed] * len(uris))
        index(archive, tmp_path)
    assert formats(tmp_path / "manifest.parquet") == {"a.txt": None, "b.txt": None, "c.png": None}
    counts = index(archive, tmp_path)
    assert (counts.images, counts.changed, counts.removed) == (2, 1, 1)
    assert formats(tmp_path / "manifest.parquet") == {"a.txt": "dicom", "c.png": None}


def _without_the_first(uris: list[str]) -> list[Fetched]:
    """Fetch objects of which the first vanished since it was listed."""
    Path(uris[0]).unlink()
    return fetch_objects(uris)


def test_an_archive_without_images_is_an_error_and_leaves_the_old_manifest(archive, tmp_path):
    index(archive, tmp_path)
    words = put(str(tmp_path / "words"), {"a.txt": b"words", "b.csv": b"1,2"})
    with pytest.raises(StorageError, match=r"no image under .*/words; 2 other files were passed over"):
        index(words, tmp_path)
    with pytest.raises(StorageError, match=r"nothing exists at .*/nowhere; check the URI"):
        index(tmp_path / "nowhere", tmp_path)
    assert len(formats(tmp_path / "manifest.parquet")) == 4


def test_a_target_that_is_no_manifest_is_not_overwritten(archive, tmp_path):
    write_bytes(f"{tmp_path}/other.parquet", b"precious")
    with pytest.raises(StorageError, match=r"other\.parquet is not readable as Parquet"):
        index(archive, tmp_path / "other.parquet")
    assert (tmp_path / "other.parquet").read_bytes() == b"precious"


def test_times_survive_parquet_to_the_microsecond(archive, tmp_path):
    os.utime(archive / "c.png", ns=(0, 1_700_000_000_123_456_789))
    index(archive, tmp_path)
    modified: datetime = pq.read_table(tmp_path / "manifest.parquet")["modified"][3].as_py()
    assert modified.isoformat() == "2023-11-14T22:13:20.123457+00:00"
    assert index(archive, tmp_path).changed == 0


def test_batches_are_consecutive():
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []


def test_counts_are_what_the_record_holds():
    assert set(dataclasses.asdict(IndexCounts())) == {"images", "bytes", "new", "changed", "removed", "skipped"}
