"""The fence around decoders, with real files, and real signals where a decoder would crash."""

import io
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging.decode import decode_for_sizes, decode_image
from cxr_ray.imaging.decoder_fence import BYTES_AHEAD, BYTES_HELD, FILES_AHEAD, DecoderFence, FencedFile, seconds_for
from cxr_ray.imaging.limits import DecodeLimits


def encoded(height, width, kind="PNG", mode="L"):
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert(mode).save(file, kind)
    return file.getvalue()


SMALL = encoded(48, 64)
LIMITS = DecodeLimits()


@pytest.fixture(scope="module")
def large():
    """A PNG of 64 megapixels, which takes longer than half a second to decode."""
    return encoded(8000, 8000)


@pytest.fixture
def fence():
    return DecoderFence()


def decode(fence, data, sizes, limits):
    return fence.images_of(fence.give(data, sizes, limits))


def children():
    """Process ids of the decoders that this process started, the oldest first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended in the meantime
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and "decoder_process" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return sorted(found)


FILES = [SMALL, encoded(600, 900, "JPEG"), encoded(40, 30, "TIFF"), SMALL[:60], b"", b"nothing known"]


@pytest.mark.slow
def test_a_large_file_leaves_no_memory_behind(fence, large):
    for _ in range(2):
        assert decode(fence, large, (), LIMITS)[0].pixels.shape == (8000, 8000)
        held = [512 * os.fstat(file.number).st_blocks for file in fence._child._files]
        assert sum(held) < 2**23, "the pixels are 64 MB"


def test_the_memory_of_files_serves_the_next_ones_and_stays_bounded(fence):
    def held():
        return [512 * os.fstat(file.number).st_blocks for file in fence._child._files]

    padded = [SMALL + bytes(megabytes * 2**20) for megabytes in (1, 15, 15, 3, 15, 15, 15, 15, 15, 2, 15)]
    for _ in range(2):
        for file in [fence.give(data, (), LIMITS) for data in padded]:
            assert fence.images_of(file)[0].error is None
            assert sum(held()) <= BYTES_HELD + 15 * 2**20
    for _ in range(FILES_AHEAD):
        before = sum(held())
        decode(fence, SMALL, (), LIMITS)
        assert sum(held()) == before > 2**20


@pytest.mark.parametrize("sizes", [(), (64,), (32, 512, 32)])
def test_a_fenced_file_gives_what_it_gives_without_the_fence(fence, sizes):
    for data in FILES:
        found = decode(fence, data, sizes, LIMITS)
        wanted = decode_for_sizes(data, sizes) if sizes else (decode_image(data),)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert (one.pixels is None) == (other.pixels is None)
            assert one.pixels is None or np.array_equal(one.pixels, other.pixels)
            for name in ("format", "width", "height", "error_kind", "error", "dicom"):
                assert getattr(one, name) == getattr(other, name)


def test_files_share_one_process_which_ends_with_the_fence():
    before, fence = children(), DecoderFence()
    for _ in range(2):
        decode(fence, SMALL, (), LIMITS)
        assert len(set(children()) - set(before)) == 1
    del fence
    assert set(children()) <= set(before)


@pytest.mark.slow
def test_the_time_of_the_decoder_counts(fence, large):
    assert fence.cpu_seconds() == 0
    decode(fence, SMALL, (), LIMITS)
    before, own = fence.cpu_seconds(), time.process_time()
    decode(fence, large, (64,), LIMITS)
    assert fence.cpu_seconds() - before > time.process_time() - own
    assert fence.cpu_seconds() - before > 0.2


def test_a_decoder_that_does_not_end_is_a_row_and_the_next_file_is_decoded(fence, large):
    decode(fence, SMALL, (), LIMITS)  # the process has started: its imports are no part of the time
    began = time.monotonic()
    (image,) = decode(fence, large, (), DecodeLimits(max_seconds=0.05))
    assert time.monotonic() - began < 5
    assert (image.error_kind, image.format, image.pixels) == ("decoder_timeout", "png", None)
    assert image.error == "png: its decoder did not end in time; the limit is max_decode_seconds"
    (after,) = decode(fence, SMALL, (), LIMITS)
    assert after.pixels.shape == (48, 64)


@pytest.mark.slow
def test_files_handed_over_with_the_one_that_ends_the_decoder_are_decoded(fence, large):
    decode(fence, SMALL, (), LIMITS)
    short = DecodeLimits(max_seconds=0.05)
    files = [fence.give(data, (), short) for data in (SMALL, large, SMALL, encoded(20, 30))]
    kinds = [fence.images_of(file)[0].error_kind for file in files]
    assert kinds == [None, "decoder_timeout", None, None]
    assert [fence.images_of(file)[0].height for file in files] == [48, None, 48, 20]


def test_large_files_are_not_held_together(fence):
    padded = SMALL + bytes(BYTES_AHEAD // 2)
    files = [fence.give(padded, (), LIMITS) for _ in range(3)]
    assert [file.images is None for file in files] == [False, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_crashes_is_a_row_for_each_size_and_the_next_file_is_decoded(fence, large, kind):
    before = children()
    (first,) = decode(fence, SMALL, (64,), LIMITS)
    (child,) = set(children()) - set(before)
    os.kill(child, signal.SIGSTOP)  # it is stopped while it gets the files, and dies over the first of them
    files = [fence.give(data, (32, 64), LIMITS) for data in (large, SMALL, SMALL[:60])]
    os.kill(child, kind)
    os.kill(child, signal.SIGCONT)
    crashed, after, cut = (fence.images_of(file) for file in files)
    assert [image.error_kind for image in crashed] == ["decoder_crashed"] * 2
    assert crashed[0].error == f"png: its decoder crashed ({kind.name})"
    assert np.array_equal(first.pixels, after[1].pixels)
    assert cut[0].error_kind == "truncated"


@pytest.mark.slow
def test_a_decoder_that_wants_too_much_memory_is_a_row(fence):
    small = DecodeLimits(max_megapixels=4000, max_bytes=4 * 10**9)
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    bomb = file.getvalue()
    with pytest.MonkeyPatch.context() as environment:
        environment.setattr("cxr_ray.imaging.decoder_fence.memory_for", lambda limits: 2**28)
        (image,) = decode(fence, bomb, (), small)
    assert image.error_kind == "too_large"
    assert image.pixels is None
    (after,) = decode(fence, SMALL, (), LIMITS)
    assert after.pixels.shape == (48, 64)


def test_the_time_grows_with_the_file():
    assert seconds_for(0, LIMITS) == LIMITS.max_seconds
    assert seconds_for(50 * 10**6, DecodeLimits(max_seconds=2)) == 52


def test_more_files_than_a_fence_holds_keep_their_order(fence):
    data = [encoded(20 + number, 30) for number in range(11)]
    files = [fence.give(one, (), LIMITS) for one in data]
    assert [fence.images_of(file)[0].height for file in reversed(files)] == list(range(30, 19, -1))


def test_images_of_a_file_that_was_not_given_are_refused(fence):
    with pytest.raises(RuntimeError, match="a file must be given to this fence"):
        fence.images_of(FencedFile(SMALL, (), LIMITS))
