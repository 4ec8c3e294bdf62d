import os
import sys

import numpy as np
import pytest

from cxr_ray.imaging.codestream import read_jpeg_header, with_precision
from cxr_ray.imaging.decode import decode_image
from cxr_ray.imaging.gdcm_codec import _libjpeg_warnings_refused, decode_by_gdcm
from cxr_ray.imaging.limits import ErrorKind, ImageRefused

LOSSLESS, JPEG_LS = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"


def codestream_of(data):
    return data[data.rindex(b"\xff\xd8\xff") : data.rindex(b"\xff\xd9") + 2]


@pytest.fixture
def lossless(make_dicom, transcode):
    """The codestream of unsigned pixels, in lossless JPEG unless another syntax of GDCM is named."""

    def encode(pixels, name="JPEGLosslessProcess14_1"):
        return codestream_of(transcode(make_dicom(pixels), name))

    return encode


@pytest.mark.parametrize("precision", range(2, 9))
def test_lossless_jpeg_of_few_bits_comes_back_exactly(make_dicom, lossless, radiograph, precision):
    pixels = radiograph >> (8 - precision)
    codestream = with_precision(lossless(pixels + np.uint8(128 - 2 ** (precision - 1))), precision)
    np.testing.assert_array_equal(decode_by_gdcm(codestream, read_jpeg_header(codestream)), pixels)
    for stored in {precision, 8}:
        data = make_dicom(radiograph, syntax=LOSSLESS, codestream=codestream, BitsStored=stored)
        assert decode_image(data).error is None
        assert decode_image(data).pixels.max() == 255


@pytest.mark.parametrize("name", ["JPEGLosslessProcess14_1", "JPEGLSLossless"])
def test_eight_bits_in_words_of_sixteen(make_dicom, lossless, radiograph, name):
    syntax = LOSSLESS if name.startswith("JPEGLossless") else JPEG_LS
    data = make_dicom(radiograph.astype(np.uint16), syntax=syntax, codestream=lossless(radiograph, name), BitsStored=8)
    np.testing.assert_array_equal(decode_image(data).pixels, radiograph)


def test_jpeg_ls_of_few_bits_is_refused(make_dicom, lossless, radiograph):
    codestream = with_precision(lossless(radiograph, "JPEGLSLossless"), 7)
    result = decode_image(make_dicom(radiograph, syntax=JPEG_LS, codestream=codestream))
    assert (result.error_kind, result.error) == ("unsupported", "JPEG-LS of 7 bits is not supported")
    assert result.dicom.modality == "DX"


@pytest.mark.parametrize("precision", [0, 1, 17])
def test_a_precision_that_no_jpeg_has_is_refused(lossless, radiograph, precision):
    codestream = with_precision(lossless(radiograph), precision)
    with pytest.raises(ImageRefused, match="breaks the rules of DICOM"):
        decode_by_gdcm(codestream, read_jpeg_header(codestream))


def test_a_lossless_jpeg_that_ended_early_is_truncated_and_nothing_is_printed(make_dicom, lossless, ramp12, capfd):
    whole = lossless(np.tile(ramp12, (2, 3)))
    cut = whole[: int(len(whole) * 0.6)] + b"\xff\xd9"
    result = decode_image(make_dicom(np.tile(ramp12, (2, 3)), syntax=LOSSLESS, codestream=cut))
    assert (result.error_kind, result.error) == ("truncated", "JPEG codestream ends before its last pixel")
    assert capfd.readouterr() == ("", "")


def test_a_lossless_jpeg_with_a_hole_is_refused(make_dicom, lossless, radiograph, capfd):
    pixels = np.tile(radiograph, (2, 2)).astype(np.uint16) * 16
    whole = lossless(pixels)
    at = len(whole) // 2
    result = decode_image(make_dicom(pixels, syntax=LOSSLESS, codestream=whole[:at] + bytes(512) + whole[at + 512 :]))
    assert result.error_kind in ("unreadable", "truncated")
    assert capfd.readouterr() == ("", "")


def test_bytes_before_the_end_marker_do_no_harm(lossless, ramp12, capfd):
    codestream = lossless(ramp12)
    padded = codestream[:-2] + bytes(200) + codestream[-2:]
    np.testing.assert_array_equal(decode_by_gdcm(padded, read_jpeg_header(padded)), ramp12)
    assert capfd.readouterr() == ("", "")


def warn_like_libjpeg():
    with _libjpeg_warnings_refused():
        os.write(2, b"Corrupt JPEG data: bad Huffman code\n")
        print("a line of a log", file=sys.stderr, flush=True)


def test_what_others_write_to_stderr_follows(capfd):
    with pytest.raises(ImageRefused, match="JPEG codestream is damaged") as refusal:
        warn_like_libjpeg()
    assert refusal.value.kind == ErrorKind.UNREADABLE
    assert capfd.readouterr().err == "a line of a log\n"


@pytest.mark.parametrize("at", [0, 4, 30])
def test_errors_of_libjpeg_are_not_printed(make_dicom, lossless, ramp12, capfd, at):
    codestream = bytearray(lossless(ramp12))
    table = codestream.index(b"\xff\xc4")
    codestream[table + 4 + at] ^= 0xFF
    result = decode_image(make_dicom(ramp12, syntax=LOSSLESS, codestream=bytes(codestream)))
    assert result.pixels is not None or result.error_kind in ("unreadable", "truncated")
    assert capfd.readouterr() == ("", "")
