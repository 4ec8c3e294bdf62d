"""A reader of a folder never meets half a file that `whole_files` writes."""

import os
import pickle
import resource
import signal
import threading
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_ray.archive.whole_files import PART_SUFFIX, whole_files


@pytest.fixture
def local():
    return whole_files(fsspec.filesystem("file"))


def test_a_file_has_its_name_only_when_it_is_closed(local, tmp_path):
    target = tmp_path / "a.parquet"
    table = pa.table({"x": range(1000)})
    with pq.ParquetWriter(str(target), table.schema, filesystem=local) as writer:
        writer.write_table(table)
        assert not target.exists()
        assert [path.suffix for path in tmp_path.iterdir()] == [PART_SUFFIX]
        assert pq.ParquetDataset(tmp_path, schema=table.schema).files == [], "readers pass over hidden files"
    assert pq.read_table(target).equals(table)
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_cannot_be_written_in_full_gets_no_name(local, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    stream = local.open_output_stream(str(tmp_path / "a"))
    part = next(path for path in tmp_path.iterdir() if path.suffix == PART_SUFFIX)
    descriptors = [link for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == str(part)]
    os.dup2(os.open("/dev/full", os.O_WRONLY), int(descriptors[0].name))
    with pytest.raises(OSError, match="No space left"):
        stream.write(b"x" * 100_000)
    stream.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_reader_meets_whole_files_while_one_is_replaced(local, tmp_path):
    target, tables, end = tmp_path / "a.parquet", [pa.table({"x": range(n)}) for n in (10, 20_000)], threading.Event()
    pq.write_table(tables[0], str(target), filesystem=local)

    def replace():
        while not end.is_set():
            for table in tables:
                pq.write_table(table, str(target), filesystem=local)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        assert {pq.ParquetFile(target).read().num_rows for _ in range(200)} <= {10, 20_000}
    finally:
        end.set()
        writer.join()


def test_workers_get_the_filesystem_by_pickle_and_can_move_and_delete(local, tmp_path):
    copied = pickle.loads(pickle.dumps(local))
    with copied.open_output_stream(str(tmp_path / "a")) as file:
        file.write(b"content")
    copied.move(str(tmp_path / "a"), str(tmp_path / "b"))
    assert copied.get_file_info(str(tmp_path / "b")).size == 7
    copied.delete_file(str(tmp_path / "b"))
    assert list(tmp_path.iterdir()) == []


def test_a_system_that_writes_only_a_part_is_asked_again(local, tmp_path):
    """A limit on the size of files makes the system write what fits, and refuse only the next write."""
    stream = local.open_output_stream(str(tmp_path / "a"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            stream.write(b"0123456789")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    stream.close()
    assert list(tmp_path.iterdir()) == [], "four of ten bytes are no file"
