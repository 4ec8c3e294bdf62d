import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxr_ray.imaging.decode import DecodedImage, DecodeLimits, decode_for_sizes, decode_image

SIGNATURES = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    bytes(128) + b"DICM",
    b"\x08\0\x05\0CS\x0a\0",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
]


def encoded(name):
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, name)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "format_name", "kind", "message"),
    [
        (b"", None, "empty", "file has 0 bytes"),
        (b"hello", None, "unsupported", "format unknown is not supported; dicom, png, jpeg, tiff are read"),
        (encoded("BMP"), "bmp", "unsupported", "format bmp is not supported; dicom, png, jpeg, tiff are read"),
        (
            encoded("JPEG2000"),
            "jpeg2000",
            "unsupported",
            "format jpeg2000 is not supported; dicom, png, jpeg, tiff are read",
        ),
        (
            b'<?xml version="1.0"?><Error/>',
            "xml",
            "unsupported",
            "format xml is not supported; dicom, png, jpeg, tiff are read",
        ),
    ],
)
def test_what_cannot_be_read_says_why(data, format_name, kind, message):
    assert decode_image(data) == DecodedImage(format=format_name, error_kind=kind, error=message)


def test_a_large_file_is_refused_by_its_size():
    result = decode_image(encoded("PNG"), limits=DecodeLimits(max_bytes=10))
    assert (result.format, result.error_kind) == ("png", "too_large")


def test_a_recursion_without_end_becomes_a_row():
    item = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    result = decode_image(bytes(128) + b"DICM" + item * 20_000)
    assert (result.format, result.error_kind) == ("dicom", "unreadable")
    assert result.error == "dicom cannot be decoded (RecursionError)"


def test_too_little_memory_becomes_a_row(monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "array", exhausted)
    result = decode_image(encoded("PNG"))
    assert (result.error_kind, result.error) == ("too_large", "too little memory to decode the image")


@given(st.sampled_from(SIGNATURES), st.binary(max_size=400))
def test_any_bytes_give_a_result(signature, tail):
    result = decode_image(signature + tail)
    assert (result.pixels is None) == (result.error_kind is not None) == (result.error is not None)
    assert result.error is None or "\n" not in result.error


@pytest.mark.slow
@given(
    sides=st.tuples(st.integers(900, 2000), st.integers(900, 2000)),
    sizes=st.lists(st.sampled_from([32, 224, 256, 384, 1024]), min_size=2, max_size=4, unique=True),
)
@settings(max_examples=15, deadline=None)
def test_what_one_size_gets_does_not_depend_on_the_others(sides, sizes):
    noise = np.random.default_rng(0).integers(0, 256, sides[::-1], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    together = decode_for_sizes(buffer.getvalue(), sizes)
    for size, image in zip(sizes, together, strict=True):
        np.testing.assert_array_equal(image.pixels, decode_image(buffer.getvalue(), wanted_size=size).pixels)


def test_sizes_that_want_one_scale_share_a_decoding():
    buffer = io.BytesIO()
    Image.new("L", (2048, 2048)).save(buffer, "JPEG")
    classifier, segmenter_uri, overlay = decode_for_sizes(buffer.getvalue(), [128, 256, 1024])
    assert classifier is segmenter_uri
    assert (segmenter_uri.pixels.shape, overlay.pixels.shape) == ((512, 512), (2048, 2048))


@pytest.mark.parametrize("data", [b"", b"hello", encoded("PNG"), encoded("JPEG")[:-20]])
def test_anything_else_is_decoded_once(data):
    first, second = decode_for_sizes(data, [32, 1024])
    assert first is second
