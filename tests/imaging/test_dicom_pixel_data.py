import struct

import pytest

from cxr_ray.imaging.dicom_pixel_data import PixelData, encapsulated_frame, native_frame, pixel_data_at
from cxr_ray.imaging.limits import ErrorKind, ImageRefused

END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def item(content):
    return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(content)) + content


def undefined(value):
    return PixelData(value=memoryview(value), is_undefined=True)


def defined(value):
    return PixelData(value=memoryview(value))


@pytest.mark.parametrize("table", [b"", bytes(4), struct.pack("<2L", 0, 9_999_999)])
def test_the_fragments_of_one_frame_are_joined_whatever_the_table_says(table):
    assert encapsulated_frame(undefined(item(table) + item(b"ab") + item(b"cd") + END + b"junk")) == b"abcd"
    assert encapsulated_frame(defined(item(table) + item(b"ab") + item(b"cd"))) == b"abcd"


def test_a_codestream_in_place_of_the_table_is_no_table():
    assert encapsulated_frame(undefined(item(b"\xff\xd8\xff\xc0") + item(b"cd") + END)) == b"\xff\xd8\xff\xc0cd"


@pytest.mark.parametrize("cut", [1, 8, 9, 17])
def test_fragments_cut_short_are_truncated(cut):
    value = item(b"") + item(b"abcdefgh") + END
    with pytest.raises(ImageRefused, match="DICOM file ends within an element") as refusal:
        encapsulated_frame(undefined(value[:-cut]))
    assert refusal.value.kind == ErrorKind.TRUNCATED


def test_what_is_not_encapsulated_is_refused():
    with pytest.raises(ImageRefused, match="not divided into fragments"):
        encapsulated_frame(defined(b"abcdefghij"))
    with pytest.raises(ImageRefused, match="no fragments"):
        encapsulated_frame(undefined(item(b"") + END))


def test_native_samples_may_be_followed_by_anything():
    assert bytes(native_frame(defined(b"abcd" + bytes(500)), 4)) == b"abcd"
    assert bytes(native_frame(undefined(b"abcd" + END + b"more"), 4)) == b"abcd"
    with pytest.raises(ImageRefused, match="Pixel Data has 3 bytes; the DICOM header claims 4"):
        native_frame(defined(b"abc"), 4)


def test_compressed_data_are_not_taken_for_native_samples():
    value = item(b"") + item(bytes(1000)) + END
    for pixels in (undefined(value), defined(value)):
        with pytest.raises(ImageRefused, match="Pixel Data is compressed; the transfer syntax says it is not"):
            native_frame(pixels, 100)
    assert len(native_frame(defined(value), len(value))) == len(value)  # samples that look so by chance


def test_a_value_that_runs_over_the_end_is_truncated():
    assert bytes(pixel_data_at(b"--abcd--", 2, 4).value) == b"abcd"
    with pytest.raises(ImageRefused, match="ends within an element"):
        pixel_data_at(b"--abcd", 2, 5)
