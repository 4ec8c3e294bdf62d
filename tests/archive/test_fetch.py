import os
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cxr_ray.archive.fetch import Fetched, fetch_objects
from cxr_ray.archive.listing import list_objects
from cxr_ray.archive.uris import open_filesystem, write_bytes


def test_outcomes_come_in_the_order_asked_whatever_the_storage(tmp_path):
    write_bytes(f"{tmp_path}/a", b"local")
    write_bytes("memory://fetch/a", b"memory")
    uris = ["memory://fetch/a", f"{tmp_path}/a", f"file://{tmp_path}/a", "memory://fetch/a", f"{tmp_path}/a"]
    data = [outcome.data for outcome in fetch_objects(uris)]
    assert data == [b"memory", b"local", b"local", b"memory", b"local"]
    assert [outcome.data for outcome in fetch_objects(uris, first_bytes=3)] == [d[:3] for d in data if d]


def test_no_failure_touches_another(tmp_path):
    write_bytes(f"{tmp_path}/a", b"1")
    uris = [f"{tmp_path}/none", f"{tmp_path}/a", f"{tmp_path}/a/below", str(tmp_path), "wat://x", f"{tmp_path}/a"]
    kinds = [outcome.error_kind for outcome in fetch_objects(uris)]
    assert kinds == ["not_found", None, "not_found", "download_failed", "download_failed", None]


def test_failures_say_what_and_where_on_one_line(tmp_path):
    missing, folder, unknown = fetch_objects([f"{tmp_path}/none", str(tmp_path), "wat://x"])
    assert missing.error == f"no object at {tmp_path}/none"
    assert folder.error is not None
    assert folder.error.startswith(f"cannot read {tmp_path}: ")
    assert unknown.error is not None
    assert unknown.error.startswith("cannot open wat://x: ")


def test_a_name_that_no_object_can_have(tmp_path):
    write_bytes(f"{tmp_path}/a", b"1")
    wrong, right = fetch_objects([f"{tmp_path}/\0.png", f"{tmp_path}/a"])
    assert (wrong.error_kind, right.data) == ("not_found", b"1")
    assert "\\x00.png': no name holds the character NUL" in str(wrong.error)


class LibraryError(Exception):
    """An exception as libraries of storages raise them, which is no OSError."""


@pytest.mark.parametrize("failure", [OSError("slow down"), LibraryError("slow down")])
def test_a_failure_of_the_storage_is_an_outcome(monkeypatch, failure):
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda *_, **__: (_ for _ in ()).throw(failure))
    (outcome,) = fetch_objects(["memory://fetch/a"])
    assert (outcome.error_kind, outcome.error) == ("download_failed", "cannot read memory://fetch/a: slow down")


@pytest.mark.parametrize("fault", [TypeError("no such argument"), MemoryError()])
def test_a_fault_of_the_program_is_no_failed_download(monkeypatch, fault):
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda *_, **__: (_ for _ in ()).throw(fault))
    with pytest.raises(type(fault)):
        fetch_objects(["memory://fetch/a"])


def test_nothing_asked_nothing_fetched():
    assert fetch_objects([]) == []


def test_the_heads_of_small_and_empty_files(tmp_path):
    write_bytes(f"{tmp_path}/small", b"12")
    write_bytes(f"{tmp_path}/empty", b"")
    assert fetch_objects([f"{tmp_path}/small", f"{tmp_path}/empty"], first_bytes=512) == [
        Fetched(data=b"12"),
        Fetched(data=b""),
    ]


@pytest.mark.s3
def test_objects_of_s3(bucket_uri):
    write_bytes(f"{bucket_uri}/a", b"12345")
    uris = [f"{bucket_uri}/a", f"{bucket_uri}/none", "s3://no-such-bucket/x", f"{bucket_uri}/a"]
    outcomes = fetch_objects(uris, first_bytes=2)
    assert [outcome.data for outcome in outcomes] == [b"12", None, None, b"12"]
    assert [outcome.error_kind for outcome in outcomes] == [None, "not_found", "not_found", None]


@pytest.mark.slow
@pytest.mark.s3
def test_many_objects_at_once(bucket_uri):
    fs, bucket = open_filesystem(bucket_uri)
    contents = {f"{n} [*].png": str(n).encode() for n in range(150)}
    fs.pipe({f"{bucket}/{name}": data for name, data in contents.items()})
    outcomes = fetch_objects([f"{bucket_uri}/{name}" for name in contents])
    assert [outcome.data for outcome in outcomes] == list(contents.values())


def test_a_name_that_is_not_utf8_is_the_reason_and_not_a_missing_file(tmp_path):
    (tmp_path / "in").mkdir()
    Path(os.fsdecode(bytes(tmp_path / "in") + b"/Jos\xe9.png")).write_bytes(b"content")
    listed = [entry.uri for entry in list_objects(str(tmp_path / "in"))]
    (found,) = fetch_objects(listed)
    assert found.error_kind == "not_found"
    assert found.error.endswith("Jos\\xe9.png; rename the file: its name is not UTF-8, which no table can hold")


def test_what_is_no_url_is_a_failed_download_and_touches_no_other(tmp_path):
    write_bytes(f"{tmp_path}/a", b"1")
    wrong = ["http://host:99999/x", "http://[bad/x", "http://exa mple..com/x", "zip://a::/nope.zip"]
    *failed, whole = fetch_objects([*wrong, f"{tmp_path}/a"])
    assert [one.error_kind for one in failed] == ["download_failed"] * 4
    assert all(one.error and "\n" not in one.error for one in failed)
    assert whole.data == b"1"
