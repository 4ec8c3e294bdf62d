"""Damaged and cut answers of a store are asked for again; a permanent failure is not."""

import time

import pyarrow as pa
import pytest

from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.archive.uris import exists, open_filesystem, read_bytes, write_bytes
from cxr_ray.errors import StorageError
from tests.faults.faulty_store import FAULTS, faulty_store

pytestmark = pytest.mark.s3


@pytest.fixture
def store():
    """A store whose faults a test chooses, with an empty bucket `faulty`."""
    with faulty_store(disturbed=True) as store:
        store.stall_seconds = 0.2
        fs, _ = open_filesystem("s3://faulty")
        if fs.exists("faulty"):
            fs.rm("faulty", recursive=True)
        fs.mkdir("faulty")
        yield store


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_survived_by_every_kind_of_request(store, fault):
    table = pa.table({"image_id": [str(i) for i in range(1000)]})
    store.next = [fault]
    write_bytes("s3://faulty/a", b"12345")
    for _ in range(3):
        store.next = [fault, fault]
        assert read_bytes("s3://faulty/a") == b"12345"
        store.next = [fault]
        assert exists("s3://faulty/a")
    store.next = [fault]
    assert [fetched.data for fetched in fetch_objects(["s3://faulty/a"], first_bytes=3)] == [b"123"]
    store.next = [fault]
    write_table(table, "s3://faulty/t.parquet")
    store.next = [None, fault, fault]  # the first request asks for the size
    assert read_table("s3://faulty/t.parquet") == table
    assert store.faults[fault] >= 11


def test_a_range_that_comes_short_again_and_again_is_a_failure(store):
    write_bytes("s3://faulty/a", b"12345")
    store.next = ["short_length"] * 5
    (fetched,) = fetch_objects(["s3://faulty/a"], first_bytes=4)
    assert fetched.error_kind == "download_failed"
    assert fetched.error.endswith("2 bytes came in answer to a range of 4")


def test_a_refusal_is_not_repeated(store):
    store.read_only, began = True, time.monotonic()
    with pytest.raises(StorageError, match=r"cannot write s3://faulty/a: .*Access Denied; the key has no permission"):
        write_bytes("s3://faulty/a", b"1")
    assert time.monotonic() - began < 1
