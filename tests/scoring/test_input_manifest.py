import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_ray.archive.uris import open_filesystem, write_bytes
from cxr_ray.errors import ConfigError, StorageError
from cxr_ray.scoring.input_manifest import is_table, manifest_of, shard_of

RECORDS = ["_manifest.run.json", "manifest.run.json", "run.json"]


@pytest.fixture
def listing_uri(tmp_path):
    return str(tmp_path / "state" / "manifest.parquet")


def write(path, content=b"\x89PNG\r\n\x1a\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_manifest_file(path, ids=("a", "b"), **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"image_id": list(ids), "uri": [f"s3://x/{i}" for i in ids]} | columns
    pq.write_table(pa.table({name: pa.array(v, pa.string()) for name, v in table.items() if v is not None}), path)


def test_a_prefix_of_images_is_listed(tmp_path, listing_uri):
    for name in ("in/COVID/images/1.png", "in/Normal/images/2.png", "in/metadata.csv", "in/tables/old.parquet"):
        write(tmp_path / name, b"path,label" if name.endswith(".csv") else b"x")
    assert manifest_of(str(tmp_path / "in"), listing_uri) == (listing_uri, 2)
    assert pq.read_table(listing_uri)["image_id"].to_pylist() == ["COVID/images/1.png", "Normal/images/2.png"]


def test_one_image_is_listed(tmp_path, listing_uri):
    write(tmp_path / "1.png")
    assert manifest_of(str(tmp_path / "1.png"), listing_uri) == (listing_uri, 1)


def test_a_manifest_is_taken_as_it_is(tmp_path, listing_uri):
    uri = str(tmp_path / "any name.parquet")
    write_manifest_file(tmp_path / "any name.parquet")
    assert manifest_of(uri, listing_uri) == (uri, 2)


def test_a_folder_of_manifests_is_one_manifest(tmp_path, listing_uri):
    write_manifest_file(tmp_path / "in" / "1.parquet", ("a", "b"))
    write_manifest_file(tmp_path / "in" / "2.parquet", ("c",))
    assert manifest_of(str(tmp_path / "in"), listing_uri) == (str(tmp_path / "in"), 3)


@pytest.mark.parametrize("beside", [*RECORDS, "_SUCCESS", "_metadata/x.json", "_a.png", ".hidden"])
def test_records_beside_a_manifest_do_not_make_it_a_folder_of_images(tmp_path, listing_uri, beside):
    write_manifest_file(tmp_path / "in" / "manifest.parquet")
    write(tmp_path / "in" / beside, b"{}")
    assert manifest_of(str(tmp_path / "in"), listing_uri) == (str(tmp_path / "in"), 2)


def test_a_folder_written_by_index_archive_is_a_manifest(tmp_path, listing_uri):
    from cxr_ray.archive.manifest import index_archive
    from cxr_ray.config import IndexConfig

    write(tmp_path / "archive" / "1.png")
    index_archive(IndexConfig(input_uri=str(tmp_path / "archive"), output_uri=str(tmp_path / "index")))
    assert manifest_of(str(tmp_path / "index"), listing_uri) == (str(tmp_path / "index"), 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"uri": None}, "has no column uri; make one with index_archive.py"),
        ({"uri": None, "image_id": None, "name": ["a"]}, "has no column image_id, uri; "),
        ({"image_id": ["a", "a"]}, "names image_id 'a' more than once"),
        ({"image_id": ["a", None]}, "has 1 empty image_id or uri"),
        ({"image_id": [], "uri": []}, "has no rows; make one with index_archive.py"),
    ],
)
def test_a_table_that_is_no_manifest_is_refused(tmp_path, listing_uri, columns, message):
    write_manifest_file(tmp_path / "in.parquet", **columns)
    with pytest.raises(StorageError, match=message):
        manifest_of(str(tmp_path / "in.parquet"), listing_uri)


def test_exclude_is_refused_for_a_manifest(tmp_path, listing_uri):
    write_manifest_file(tmp_path / "in.parquet")
    with pytest.raises(
        ConfigError,
        match=r"--exclude \*/masks/\* a needs a prefix .*in\.parquet is a manifest; give --exclude to",
    ):
        manifest_of(str(tmp_path / "in.parquet"), listing_uri, ("*/masks/*", "a"))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.parquet"])
def test_an_input_that_does_not_exist_is_refused(tmp_path, listing_uri, name):
    with pytest.raises(StorageError, match=f"nothing exists at .*{name}"):
        manifest_of(str(tmp_path / name), listing_uri)


@pytest.mark.parametrize("image", ["b/1.png", "b.png", "z/y/1.png", "z.png", "run.json/1.png"])
def test_images_beside_a_table_are_what_is_read(tmp_path, listing_uri, image, caplog):
    write_manifest_file(tmp_path / "in" / "metadata.parquet", ("a", "b", "c"))
    write(tmp_path / "in" / image)
    with caplog.at_level(logging.INFO, logger="cxr_ray"):
        assert manifest_of(str(tmp_path / "in"), listing_uri) == (listing_uri, 1)
    assert f"{tmp_path}/in is read as a prefix: 1 images, 1 other files passed over" in caplog.messages
    if image > "metadata":
        top = image.partition("/")[0]
        assert (
            f"{tmp_path}/in holds Parquet files and others ({top}): to read a table there, give its own URI"
            in caplog.messages
        )


def test_a_log_line_says_that_a_manifest_is_read(tmp_path, listing_uri, caplog):
    write_manifest_file(tmp_path / "in" / "1.parquet")
    with caplog.at_level(logging.INFO, logger="cxr_ray"):
        manifest_of(str(tmp_path / "in"), listing_uri)
    assert f"{tmp_path}/in is read as a manifest: 2 images" in caplog.messages


@pytest.mark.s3
def test_images_beside_a_table_in_s3(bucket_uri, tmp_path, listing_uri):
    write_manifest_file(tmp_path / "m.parquet", ("a", "b", "c"))
    write_bytes(f"{bucket_uri}/in/a.parquet", (tmp_path / "m.parquet").read_bytes())
    assert is_table(f"{bucket_uri}/in")
    write_bytes(f"{bucket_uri}/in/covid/1.png", b"\x89PNG\r\n\x1a\n")
    assert manifest_of(f"{bucket_uri}/in", listing_uri) == (listing_uri, 1)


@pytest.mark.s3
def test_an_object_named_as_a_folder_of_tables_in_s3_hides_none(bucket_uri, tmp_path, listing_uri):
    write_manifest_file(tmp_path / "m.parquet", ("a", "b", "c"))
    for name in ("in", "in/", "in.parquet"):
        fs, bucket = open_filesystem(bucket_uri)
        fs.call_s3("put_object", Bucket=bucket, Key=name, Body=b"")
    for folder in ("in", "in.parquet"):
        write_bytes(f"{bucket_uri}/{folder}/a.parquet", (tmp_path / "m.parquet").read_bytes())
        assert manifest_of(f"{bucket_uri}/{folder}", listing_uri) == (f"{bucket_uri}/{folder}", 3)


def test_a_folder_with_a_manifest_is_one_also_after_a_job_wrote_its_output_into_it(tmp_path, listing_uri):
    write_manifest_file(tmp_path / "in" / "manifest.parquet")
    write(tmp_path / "in" / "scored" / "_state" / "predictions.owner.json", b"{}")
    write(tmp_path / "in" / "scored" / "predictions" / "0.parquet")
    assert manifest_of(str(tmp_path / "in"), listing_uri) == (str(tmp_path / "in"), 2)


def test_the_output_of_the_job_inside_its_input_is_passed_over(tmp_path):
    write(tmp_path / "in" / "1.png")
    write(tmp_path / "in" / "out" / "_state" / "masks.owner.json", b"{}")
    listing_uri = str(tmp_path / "in" / "out" / "_state" / "masks" / "manifest.parquet")
    assert manifest_of(str(tmp_path / "in"), listing_uri) == (listing_uri, 1)
    write(tmp_path / "in" / "out" / "overlays" / "1.png.png")
    assert manifest_of(str(tmp_path / "in"), listing_uri) == (listing_uri, 1)


@pytest.mark.parametrize("name", [".hidden.png", "_SUCCESS", "run.json"])
def test_a_folder_of_hidden_files_and_records_is_no_table(tmp_path, name):
    write(tmp_path / "in" / name, b"")
    assert not is_table(str(tmp_path / "in"))


def test_a_folder_without_images_is_refused(tmp_path, listing_uri):
    write(tmp_path / "in" / "notes.txt", b"x")
    with pytest.raises(StorageError, match=r"no image under .*; 1 other files were passed over"):
        manifest_of(str(tmp_path / "in"), listing_uri)


def test_shards_divide_a_manifest_and_images_stay_in_theirs_when_it_grows(tmp_path):
    ids = [f"COVID/images/{i}.png" for i in range(400)]
    write_manifest_file(tmp_path / "all.parquet", ids, label=["COVID"] * 400)
    write_manifest_file(tmp_path / "grown.parquet", ["0.png", *ids])

    def images_of(name, shard):
        uri, images = shard_of(str(tmp_path / name), shard, str(tmp_path / "shard.parquet"))
        found = pq.read_table(uri)
        assert found.num_rows == images
        return found

    shards = [images_of("all.parquet", f"{i}/4") for i in (1, 2, 3, 4)]
    assert sorted(i for shard in shards for i in shard["image_id"].to_pylist()) == sorted(ids)
    assert all(70 < shard.num_rows < 130 and shard.column_names == ["image_id", "uri", "label"] for shard in shards)
    grown = images_of("grown.parquet", "3/4")["image_id"].to_pylist()
    assert [i for i in grown if i != "0.png"] == shards[2]["image_id"].to_pylist()
    with pytest.raises(StorageError, match=r"shard 1/5000 of .* has no image; use fewer shards"):
        images_of("all.parquet", "1/5000")
