"""Requests that are repeated because their answer was lost or damaged lead to what they would have led to at once."""

import dataclasses
import hashlib

import pytest

from cxr_ray.archive.output_lock import output_lock
from cxr_ray.archive.output_owner import this_process
from cxr_ray.archive.uris import open_for_replacement, write_bytes
from cxr_ray.imaging.load import load_images
from cxr_ray.scoring.output.state import OutputState
from tests.faults.commands import empty_bucket
from tests.faults.faulty_store import faulty_store

pytestmark = pytest.mark.s3


@pytest.fixture
def store():
    """A store whose faults a test chooses, with an empty bucket `repeated`."""
    with faulty_store(disturbed=True) as store:
        empty_bucket("repeated")
        yield store


@pytest.mark.parametrize("place", range(7))
def test_a_run_does_not_take_itself_for_another_that_holds_the_output(store, place):
    state = OutputState("s3://repeated/out", "predictions")
    gone = dataclasses.replace(this_process("gone"), pid=2**22 + 1)  # larger than any process id
    write_bytes(state.owner_uri, gone.to_json())
    store.next = [None] * place + ["reset_after"]
    with output_lock(state, "ours") as lock:
        assert store.faults["reset_after"] == 1
        lock.check()


def test_an_object_that_comes_shorter_than_it_was_listed_is_read_again(store):
    content = bytes(range(256))
    with open_for_replacement("s3://repeated/a.png") as file:  # by parts, for which the store keeps no checksum
        file.write(content)
    store.next = ["short_length"]
    (image,) = load_images(["s3://repeated/a.png"], [len(content)])
    assert image.content_sha256 == hashlib.sha256(content).hexdigest()
    (replaced,) = load_images(["s3://repeated/a.png"], [len(content) + 1])
    assert replaced.content_sha256 == image.content_sha256
