"""A bucket that refuses writes in the middle of a job ends it in one line, and the same command continues later."""

import time

import pytest

from cxr_ray.archive.uris import write_bytes
from cxr_ray.errors import StorageError
from cxr_ray.scoring.output.state import OutputState, settle
from tests.faults.commands import (
    committed_rows,
    empty_bucket,
    finish,
    job_line,
    reconcile_line,
    rows_at,
    start,
    wait_for_blocks,
    write_archive,
)
from tests.faults.faulty_store import faulty_store

pytestmark = pytest.mark.s3
OUTPUT = "s3://chaos/out"


@pytest.fixture
def store():
    """A store without random faults, with an empty bucket `refusing`."""
    with faulty_store(disturbed=True) as store:
        empty_bucket("refusing")
        yield store


def test_a_file_that_may_not_be_deleted_is_named_in_one_line(store):
    state = OutputState("s3://refusing/out", "predictions")
    write_bytes(f"{state.rows_uri}/a_000000-0.parquet", b"without a mark")
    store.read_only = True
    with pytest.raises(
        StorageError, match=r"^cannot delete s3://refusing/out/predictions/a_000000-0.parquet: Access D"
    ):
        settle(state)


@pytest.mark.cluster
@pytest.mark.slow
def test_a_bucket_that_turns_read_only_ends_the_job_in_one_line_and_loses_no_row(save_random, tmp_path):
    save_random(tmp_path / "bundle")
    with faulty_store() as store:
        write_archive(images_per_class=30)
        line = job_line(str(tmp_path / "bundle"), OUTPUT)
        job = start(line, store.proxy)
        wait_for_blocks(job, OUTPUT, 2)
        store.read_only, began = True, time.monotonic()
        assert finish(job) == 1
        assert time.monotonic() - began < 90
        last = job.said.splitlines()[-1]
        assert last.startswith("error: ")
        assert "Access Denied" in last
        assert "the same command continues" in last
        assert "Traceback" not in job.said
        refused = start(line, store.proxy)
        assert finish(refused) == 1
        assert refused.said.splitlines()[-1].startswith(
            f"error: cannot write {OUTPUT}: Access Denied; the key has no permission for that"
        )
        store.read_only = False
        committed = committed_rows(OUTPUT)
        again = start(line, store.proxy)
        assert finish(again) == 0, again.said
        assert finish(start(reconcile_line(OUTPUT), store.plain)) == 0
        rows = rows_at(OUTPUT)
        assert 0 < committed.num_rows < rows.num_rows == 125
        kept = {row["image_id"]: row for row in rows.to_pylist()}
        assert [kept[row["image_id"]] for row in committed.to_pylist()] == committed.to_pylist()
