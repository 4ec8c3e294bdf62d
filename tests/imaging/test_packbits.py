import struct

import numpy as np
import pytest

from cxr_ray.imaging.limits import ErrorKind, ImageRefused
from cxr_ray.imaging.packbits import decode_rle_frame, unpack_bits


def test_the_example_of_apples_technical_note_1023():
    packed = bytes.fromhex("FEAA 0280002A FDAA 0380002A22 F7AA")
    expected = bytes.fromhex("AAAAAA80002AAAAAAAAA80002A22AAAAAAAAAAAAAAAAAAAA")
    assert unpack_bits(packed, 24) == expected


def test_runs_are_not_expanded_beyond_what_is_wanted():
    assert unpack_bits(b"\x81\x07" * 1_000_000, 5) == b"\x07" * 5


def test_the_no_operation_byte_is_skipped():
    assert unpack_bits(b"\x80\x80\x00\x09", 1) == b"\x09"


@pytest.mark.parametrize("packed", [b"", b"\x05abc", b"\xfe", b"\x80" * 9])
def test_a_segment_that_ends_early_is_truncated(packed):
    with pytest.raises(ImageRefused, match=r"RLE segment gives \d bytes; 9 are needed") as refusal:
        unpack_bits(packed, 9)
    assert refusal.value.kind == ErrorKind.TRUNCATED


@pytest.mark.parametrize(("shape", "dtype"), [((5, 7), "u1"), ((5, 7), "<u2"), ((5, 7, 3), "u1"), ((5, 7, 3), "<u2")])
def test_reads_what_pydicom_writes(shape, dtype):
    from pydicom.pixels.encoders.base import EncodeRunner
    from pydicom.pixels.encoders.native import _encode_frame as encode_row_wise
    from pydicom.uid import RLELossless

    pixels = np.random.default_rng(3).integers(0, 4, shape).astype(dtype)
    pixels[2] = 3
    runner = EncodeRunner(RLELossless)
    samples = shape[2] if len(shape) == 3 else 1
    for key, value in {
        "rows": 5,
        "columns": 7,
        "samples_per_pixel": samples,
        "bits_allocated": pixels.dtype.itemsize * 8,
        "bits_stored": pixels.dtype.itemsize * 8,
        "byteorder": "<",
    }.items():
        runner.set_option(key, value)
    frame = bytes(encode_row_wise(pixels.tobytes(), runner))
    planes = decode_rle_frame(frame, pixels=35, samples_per_pixel=samples, bytes_per_sample=pixels.dtype.itemsize)
    expected = np.moveaxis(pixels, -1, 0) if samples == 3 else pixels
    np.testing.assert_array_equal(np.frombuffer(planes, dtype).reshape(expected.shape), expected)


def test_a_header_with_other_segments_is_unreadable():
    with pytest.raises(ImageRefused, match="RLE frame has 3 segments; the DICOM header asks for 2"):
        decode_rle_frame(struct.pack("<16L", 3, *[64] * 15), pixels=1, samples_per_pixel=1, bytes_per_sample=2)
    with pytest.raises(ImageRefused, match="ends in its header"):
        decode_rle_frame(b"\x01", pixels=1, samples_per_pixel=1, bytes_per_sample=1)
