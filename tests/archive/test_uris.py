import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_ray.archive import uris
from cxr_ray.archive.uris import (
    absolute_uri,
    exists,
    join_uri,
    open_filesystem,
    open_for_replacement,
    parent_uri,
    read_bytes,
    write_bytes,
)
from cxr_ray.errors import StorageError

WILD_NAMES = [
    "a b",
    "#1",
    "50%",
    "%41",
    "a?b",
    "[x]",
    "st*r",
    "p+q",
    "é",
    "日本",
    "\U0001f600",
    "~t",
    "back\\slash",
    "&amp;",
]


@pytest.mark.parametrize("name", WILD_NAMES)
@pytest.mark.parametrize("scheme", ["", "file://", "local://", "memory://"])
def test_every_character_of_a_name_stands_for_itself(scheme, name, tmp_path):
    uri = f"{scheme}{tmp_path}/in {name}/{name}.png"
    write_bytes(uri, name.encode())
    assert read_bytes(uri) == name.encode()
    assert exists(uri)
    if scheme != "memory://":
        assert (tmp_path / f"in {name}" / f"{name}.png").read_bytes() == name.encode()


@pytest.mark.slow
@pytest.mark.s3
def test_every_character_of_a_key_stands_for_itself(bucket_uri):
    for name in WILD_NAMES:
        write_bytes(f"{bucket_uri}/in {name}/{name}.png", name.encode())
    fs, _ = open_filesystem(bucket_uri)
    keys = {item["Key"] for item in fs.call_s3("list_objects_v2", Bucket=bucket_uri[5:])["Contents"]}
    assert keys == {f"in {name}/{name}.png" for name in WILD_NAMES}
    assert [read_bytes(f"{bucket_uri}/in {name}/{name}.png") for name in WILD_NAMES] == [n.encode() for n in WILD_NAMES]


def test_relative_paths_and_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_bytes("a/x", b"1")
    assert absolute_uri("a/x") == f"{tmp_path}/a/x"
    assert read_bytes(absolute_uri("a/x")) == b"1"
    assert absolute_uri("~/x") == f"{tmp_path}/home/x"
    assert absolute_uri("s3://b/x") == "s3://b/x"
    write_bytes("~no-such-user/x", b"2")
    assert (tmp_path / "~no-such-user" / "x").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("s3://b/", "s3://b/x/y"),
        ("s3://b//", "s3://b/x/y"),
        ("/", "/x/y"),
        ("a/b", "a/b/x/y"),
        ("file:///", "file:///x/y"),
        ("memory://", "memory:///x/y"),
    ],
)
def test_joined_uris_keep_the_scheme(base, expected):
    assert join_uri(base, "x", "y") == expected


@pytest.mark.parametrize(
    ("uri", "folder"),
    [("x", "."), ("/x", "/"), ("a/b/x", "a/b"), ("s3://b/x", "s3://b"), ("memory://x", "memory://")],
)
def test_the_parent_of_a_file_is_its_folder(uri, folder):
    assert parent_uri(uri) == folder
    assert join_uri(folder, "x") in (uri, f"./{uri}", "memory:///x")


def test_unknown_scheme_is_named_with_what_would_do():
    with pytest.raises(StorageError, match=r"cannot open wat://a: .*; use a path, file://, s3:// or an installed"):
        open_filesystem("wat://a")


def _fail_while_writing(uri: str, size: int) -> None:
    with open_for_replacement(uri) as file:
        file.write(b"x" * size)
        raise ValueError("the caller's own")


@pytest.mark.parametrize("size", [0, 10, 10_000_000])
def test_exception_inside_leaves_the_old_file_and_no_litter(size, tmp_path):
    write_bytes(f"{tmp_path}/table", b"old")
    with pytest.raises(ValueError, match="the caller's own"):
        _fail_while_writing(f"{tmp_path}/table", size)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"table": b"old"}


@pytest.mark.s3
@pytest.mark.parametrize("size", [0, 10, pytest.param(60_000_000, marks=pytest.mark.slow, id="parts")])
def test_exception_inside_leaves_the_old_object_and_no_upload(size, bucket_uri):
    write_bytes(f"{bucket_uri}/table", b"old")
    with pytest.raises(ValueError, match="the caller's own"):
        _fail_while_writing(f"{bucket_uri}/table", size)
    gc.collect()
    fs, bucket = open_filesystem(bucket_uri)
    assert read_bytes(f"{bucket_uri}/table") == b"old"
    assert fs.ls(bucket, detail=False) == [f"{bucket}/table"]
    assert "Uploads" not in fs.call_s3("list_multipart_uploads", Bucket=bucket)


@pytest.mark.s3
def test_an_unfinished_upload_would_have_been_seen(bucket_uri):
    fs, bucket = open_filesystem(bucket_uri)
    fs.call_s3("create_multipart_upload", Bucket=bucket, Key="table")
    assert len(fs.call_s3("list_multipart_uploads", Bucket=bucket)["Uploads"]) == 1


@pytest.mark.s3
@pytest.mark.parametrize("size", [0, 10, pytest.param(60_000_000, marks=pytest.mark.slow, id="parts")])
def test_large_and_empty_objects_are_replaced_whole(size, bucket_uri):
    write_bytes(f"{bucket_uri}/table", b"old")
    write_bytes(f"{bucket_uri}/table", b"n" * size)
    assert len(read_bytes(f"{bucket_uri}/table")) == size


def test_the_new_content_is_not_seen_before_the_block_ends(tmp_path):
    write_bytes(f"{tmp_path}/table", b"old")
    with open_for_replacement(f"{tmp_path}/table") as file:
        file.write(b"new")
        file.flush()
        assert read_bytes(f"{tmp_path}/table") == b"old"
    assert read_bytes(f"{tmp_path}/table") == b"new"


def test_the_longest_name_a_disk_takes_can_be_written(tmp_path):
    write_bytes(f"{tmp_path}/{'n' * 255}", b"1")
    assert read_bytes(f"{tmp_path}/{'n' * 255}") == b"1"


@pytest.mark.parametrize("place", ["file/below", "folder", "n" * 256])
def test_places_that_cannot_be_written_are_named(place, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=rf"cannot write {tmp_path}/{place}: .*; check the URI"):
        write_bytes(f"{tmp_path}/{place}", b"1")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_place_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"cannot write .*Permission denied.*permissions"):
        write_bytes(f"{tmp_path}/x", b"1")


def test_missing_file_is_named(tmp_path):
    assert not exists(f"{tmp_path}/none")
    with pytest.raises(StorageError, match=rf"cannot read {tmp_path}/none: .*; check the URI, the credentials"):
        read_bytes(f"{tmp_path}/none")


@pytest.mark.s3
def test_missing_buckets_and_objects_are_named(bucket_uri):
    assert not exists(f"{bucket_uri}/none")
    with pytest.raises(StorageError, match=f"cannot read {bucket_uri}/none: "):
        read_bytes(f"{bucket_uri}/none")
    with pytest.raises(StorageError, match="cannot write s3://no-such-bucket/x: The specified bucket does not exist"):
        write_bytes("s3://no-such-bucket/x", b"1")
    with pytest.raises(StorageError, match=r"cannot read s3://B AD/x: Parameter validation failed: Invalid bucket"):
        read_bytes("s3://B AD/x")


@pytest.mark.s3
@pytest.mark.slow
def test_an_endpoint_that_does_not_answer_is_one_line(s3, monkeypatch):
    monkeypatch.setitem(uris.S3_OPTIONS, "config_kwargs", {"retries": {"mode": "standard", "max_attempts": 2}})
    exists("s3://b")  # opens the filesystem, so that the change below must reach an open one
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(
        StorageError,
        match=r"cannot read s3://b/x: Could not connect to the endpoint URL.*; nothing answers there: check AWS_ENDPOINT_URL",
    ):
        read_bytes("s3://b/x")


def test_a_link_to_a_table_is_read_through(tmp_path: Path):
    write_bytes(f"{tmp_path}/a", b"1")
    (tmp_path / "link").symlink_to("a")
    assert read_bytes(f"file://{tmp_path}/link") == b"1"


def test_a_process_that_failed_to_write_ends(s3):
    """A file that is not closed would be written when Python ends, by a thread that has ended before."""
    code = (
        "from cxr_ray.archive.uris import open_for_replacement\n"
        "try:\n"
        "    with open_for_replacement('s3://nowhere/a') as file:\n"
        "        file.write(bytes(10)); kept = file; raise KeyError\n"
        "except KeyError:\n"
        "    print('failed')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("failed\n", "")
