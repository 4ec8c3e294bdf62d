"""Bytes pass through a file in memory, within its mapped part, beyond it and across its end."""

import os

import numpy as np
import pytest

from cxr_ray.imaging.memory_file import MAPPED_BYTES, MemoryFile

PLACES = [0, 7, MAPPED_BYTES - 30, MAPPED_BYTES - 3, MAPPED_BYTES + 11]


@pytest.fixture
def both():
    """A file, as its creator sees it and as a second process that maps it does."""
    ours = MemoryFile.create()
    theirs = MemoryFile(os.dup(ours.number))
    yield ours, theirs
    ours.close(), theirs.close()


@pytest.mark.parametrize("offset", PLACES)
def test_what_one_writes_the_other_reads(both, offset):
    ours, theirs = both
    assert ours.write(b"radiograph", offset) == offset + 10
    assert theirs.read(10, offset) == b"radiograph"


@pytest.mark.parametrize("offset", PLACES)
def test_pixels_are_a_copy(both, offset):
    ours, theirs = both
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    theirs.write(pixels.data.cast("B"), offset)
    read = ours.read_pixels((4, 5), offset)
    theirs.write(bytes(20), offset)
    np.testing.assert_array_equal(read, pixels)
    assert read.flags.writeable


def test_a_file_that_gave_its_memory_back_holds_large_content_again(both):
    ours, theirs = both
    for large in (os.urandom(MAPPED_BYTES - 5), os.urandom(MAPPED_BYTES + 2**20)):
        ours.write(large)
        assert ours.held_bytes == len(large)
        assert 512 * os.fstat(ours.number).st_blocks >= len(large)
        ours.give_back()
        assert (ours.held_bytes, os.fstat(ours.number).st_blocks) == (0, 0)
        assert theirs.read(9) == bytes(9)
        theirs.write(large)
        assert ours.read(len(large)) == large


def test_pixels_that_are_read_are_held(both):
    ours, theirs = both
    theirs.write(bytes(6), 10)
    ours.read_pixels((2, 3), 10)
    assert ours.held_bytes == 16
