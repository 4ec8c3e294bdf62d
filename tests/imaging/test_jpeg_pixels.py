import io
import struct
import time

import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging.decode import decode_image
from cxr_ray.imaging.jpeg_pixels import MAX_SCANS, is_of_another_process, whole_jpeg
from cxr_ray.imaging.limits import ImageRefused

SEQUENTIAL = [{}, {"optimize": True}, {"restart_marker_rows": 1}]


def encode(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def large(radiograph):
    return np.tile(radiograph, (3, 3))


@pytest.mark.parametrize("options", [*SEQUENTIAL, {"progressive": True}])
def test_an_intact_jpeg_is_that_of_pillow(large, options):
    data = encode(large, **options)
    for after in (b"", b"\xff\xd9", bytes(1000), data):
        np.testing.assert_array_equal(whole_jpeg(data + after), Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("padding", [b"\0" * 3, b"\xff" * 70, b"\0" * 200])
def test_padding_before_the_end_is_accepted(large, padding):
    data = encode(large)
    np.testing.assert_array_equal(whole_jpeg(data[:-2] + padding + data[-2:]), whole_jpeg(data))


@pytest.mark.parametrize("options", SEQUENTIAL)
@pytest.mark.parametrize("wanted_size", [None, 100])
@pytest.mark.parametrize("place", [0.1, 0.4, 0.7])
def test_a_hole_is_refused_and_not_shown(large, options, wanted_size, place):
    data = encode(large, **options)
    at = int(len(data) * place) + 600
    result = decode_image(data[:at] + bytes(512) + data[at + 512 :], wanted_size=wanted_size)
    assert result.error_kind in ("unreadable", "truncated")


@pytest.mark.parametrize("options", SEQUENTIAL)
def test_data_that_are_missing_are_refused(large, options):
    data = encode(large, **options)
    assert decode_image(data[: len(data) * 2 // 3] + b"\xff\xd9").error_kind in ("unreadable", "truncated")
    at = len(data) // 2
    assert decode_image(data[:at] + data[at + 300 :]).error_kind in ("unreadable", "truncated")


@pytest.mark.parametrize("level", [0, 127, 128, 255])
@pytest.mark.parametrize("options", [*SEQUENTIAL, {"progressive": True}])
def test_a_picture_of_one_level_is_no_damage(level, options):
    np.testing.assert_array_equal(whole_jpeg(encode(np.full((70, 90), level, np.uint8), **options)), level)


def test_restart_markers_that_are_missing_are_damage(large):
    data = encode(large, restart_marker_rows=1)
    with pytest.raises(ImageRefused, match="jpeg is damaged"):
        whole_jpeg(data.replace(b"\xff\xd3", b"\xff\xd4", 1))


def test_thousands_of_scans_are_refused_at_once(large):
    data = encode(np.tile(large, (4, 4)), progressive=True)
    last = data.rindex(b"\xff\xda")
    data = data[:-2] + data[last : last + 10] * 20_000 + data[-2:]
    started = time.process_time()
    result = decode_image(data)
    assert time.process_time() - started < 1
    assert result.error_kind == "too_large"
    assert f"at most {MAX_SCANS} are decoded" in result.error


@pytest.mark.parametrize(
    ("marker", "precision", "expected"),
    [(0xC3, 12, True), (0xC3, 16, True), (0xF7, 8, True), (0xC1, 12, True), (0xC5, 8, True), (0xC0, 5, False), (0xC3, 99, False)],
)  # fmt: skip
def test_other_processes_are_unsupported_not_damaged(large, marker, precision, expected):
    data = encode(large)
    frame = data.index(b"\xff\xc0")
    changed = (
        data[:2] + b"\xff\xff" + data[2:frame] + struct.pack(">BBHB", 255, marker, 11, precision) + data[frame + 5 :]
    )
    assert is_of_another_process(changed) is expected
    if marker != 0xC5:
        assert decode_image(changed).error_kind == ("unsupported" if expected else "unreadable")
