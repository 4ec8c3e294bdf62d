import numpy as np
import pytest

from cxr_ray.imaging.decode import decode_image
from cxr_ray.imaging.pixel_layout import PixelLayout


def layout(stored=12, high_bit=11, signed=False, allocated=16):
    return PixelLayout(
        rows=1, columns=4, channels=1, bits_allocated=allocated, bits_stored=stored, high_bit=high_bit,
        is_signed=signed, photometric="MONOCHROME2",
    )  # fmt: skip


def taken(words, *, precision=16, is_lossy=False, dtype=np.uint16, **arguments):
    return layout(**arguments).samples(np.array(words, dtype), precision=precision, is_lossy=is_lossy).tolist()


def test_bits_outside_a_lossless_sample_are_no_part_of_it():
    assert taken([0x1FFF, 0xF001]) == [0xFFF, 1]
    assert taken([0x1FFF, 0x0800, 0xF7FF], signed=True) == [-1, -2048, 2047]


def test_samples_stand_below_the_high_bit():
    assert taken([0xFFF5, 0x0017], high_bit=15) == [0xFFF, 1]
    assert taken([0xFFF5, 0x8000], high_bit=15, signed=True) == [-1, -2048]
    assert taken([0x0FFF, 0x001], high_bit=15, precision=12) == [0xFFF, 1]  # the codec has removed the other bits


def test_lossy_samples_are_clipped():
    assert taken([1000, 1023, 1024, 4095], stored=10, high_bit=9, precision=12, is_lossy=True) == [
        1000,
        1023,
        1023,
        1023,
    ]
    assert taken([0xFFE, 0x900, 0x700], stored=10, high_bit=9, precision=12, is_lossy=True, signed=True) == [
        -2,
        -512,
        511,
    ]


def test_the_sign_follows_the_tag_and_the_width_the_codec():
    assert taken([0xFFF, 0x7FF], precision=12, stored=16, high_bit=15, signed=True) == [-1, 2047]
    assert taken([-1, 5], dtype=np.int16, precision=12) == [4095, 5]
    assert taken([255, 127], dtype=np.uint8, precision=8, stored=8, high_bit=7, allocated=16, signed=True) == [-1, 127]


@pytest.mark.parametrize("high_bit", [11, 13, 15])
def test_native_files_with_any_high_bit(make_dicom, ramp12, high_bit):
    words = (ramp12 << (high_bit - 11)).astype(np.uint16)
    data = make_dicom(words, BitsStored=12)
    data = data.replace(b"\x28\0\x02\1US\2\0\x0b\0", b"\x28\0\x02\1US\2\0" + bytes([high_bit, 0]))
    np.testing.assert_array_equal(decode_image(data).pixels, np.rint(ramp12 / 4095 * 255))


@pytest.mark.parametrize("stored", [17, 255])
def test_more_bits_stored_than_allocated_are_refused(make_dicom, ramp12, stored):
    result = decode_image(make_dicom(ramp12, BitsStored=stored))
    assert (result.error_kind, result.error) == (
        "unreadable",
        f"DICOM file claims {stored} bits stored of 16 allocated",
    )
