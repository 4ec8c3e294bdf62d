import io

import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging.codestream import (
    CodestreamHeader,
    read_jpeg2000_header,
    read_jpeg_header,
    strip_jpeg_annotations,
    unwrap_jp2,
    with_precision,
)
from cxr_ray.imaging.limits import ErrorKind, ImageRefused


@pytest.fixture(scope="module")
def jpeg():
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40)).save(buffer, "JPEG", subsampling="4:2:0", comment=b"a comment", dpi=(72, 72))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def jpeg2000():
    from openjpeg.utils import encode_array

    return encode_array(np.zeros((40, 50), np.uint16), bits_stored=12)


def test_jpeg_header(jpeg):
    assert read_jpeg_header(jpeg) == CodestreamHeader(
        width=50, height=40, components=3, precision=8, process=0xC0, subsampled=True, is_lossy=True
    )


def test_annotations_are_stripped_and_pixels_stay(jpeg):
    stripped = strip_jpeg_annotations(jpeg)
    assert b"a comment" in jpeg
    assert b"a comment" not in stripped
    assert b"JFIF" not in stripped
    assert read_jpeg_header(stripped) == read_jpeg_header(jpeg)
    np.testing.assert_array_equal(Image.open(io.BytesIO(stripped)), Image.open(io.BytesIO(jpeg)))


def test_jpeg2000_header(jpeg2000):
    assert read_jpeg2000_header(jpeg2000) == CodestreamHeader(width=50, height=40, components=1, precision=12, levels=5)


@pytest.mark.parametrize("kept", [2, 3, 20, 160])
def test_a_jpeg_that_ends_in_its_header_is_truncated(jpeg, kept):
    with pytest.raises(ImageRefused, match="JPEG codestream ends in its header") as refusal:
        read_jpeg_header(jpeg[:kept])
    assert refusal.value.kind == ErrorKind.TRUNCATED


@pytest.mark.parametrize("kept", [4, 41, 43])
def test_a_jpeg2000_that_ends_in_its_header_is_truncated(jpeg2000, kept):
    with pytest.raises(ImageRefused, match="JPEG 2000 codestream ends in its header"):
        read_jpeg2000_header(jpeg2000[:kept])


def test_restart_markers_and_stray_bytes_do_not_hide_a_second_frame_header(jpeg):
    frame = jpeg.index(b"\xff\xc0")
    segment = jpeg[frame : frame + 19]
    with pytest.raises(ImageRefused, match="JPEG codestream has 2 frame headers; exactly one is allowed"):
        read_jpeg_header(jpeg[:frame] + segment + jpeg[frame:])
    with pytest.raises(ImageRefused, match="JPEG codestream has 0 frame headers; exactly one is allowed"):
        read_jpeg_header(jpeg[:frame] + jpeg[frame + 19 :])
    for stray in (b"\xff\xd0", b"\0"):
        with pytest.raises(ImageRefused, match="damaged header"):
            read_jpeg_header(jpeg[:frame] + stray + jpeg[frame:])


def test_other_bytes_are_named(jpeg, jpeg2000):
    with pytest.raises(ImageRefused, match=r"codestream is not a JPEG$"):
        read_jpeg_header(jpeg2000)
    with pytest.raises(ImageRefused, match="codestream is not a JPEG 2000"):
        read_jpeg2000_header(jpeg)


def test_fill_bytes_before_markers_are_skipped(jpeg):
    frame = jpeg.index(b"\xff\xc0")
    filled = jpeg[:2] + b"\xff\xff" + jpeg[2:frame] + b"\xff" * 7 + jpeg[frame:]
    assert read_jpeg_header(filled) == read_jpeg_header(jpeg)
    assert strip_jpeg_annotations(filled) == strip_jpeg_annotations(jpeg)


def test_the_precision_is_written_into_the_frame_header(jpeg):
    assert read_jpeg_header(with_precision(jpeg, 12)).precision == 12
    assert with_precision(with_precision(jpeg, 12), 8) == jpeg


def test_sign_and_wavelet_of_jpeg2000():
    from openjpeg.utils import encode_array

    pixels = np.arange(2500, dtype=np.int16).reshape(50, 50) - 1000
    assert read_jpeg2000_header(encode_array(pixels, bits_stored=12)).is_signed
    assert not read_jpeg2000_header(encode_array(pixels, bits_stored=12)).is_lossy
    assert read_jpeg2000_header(encode_array(pixels, bits_stored=12, compression_ratios=[8])).is_lossy


def test_a_codestream_is_taken_out_of_its_boxes(jpeg2000):
    from openjpeg.utils import encode_array

    boxed = encode_array(np.zeros((40, 50), np.uint16), bits_stored=12, codec_format=1)
    assert boxed[:4] == b"\0\0\0\x0c"
    assert read_jpeg2000_header(unwrap_jp2(boxed)) == read_jpeg2000_header(jpeg2000)
    assert unwrap_jp2(jpeg2000) == jpeg2000
    for damaged in (boxed[:60], boxed[:12] + bytes(40)):
        with pytest.raises(ImageRefused, match="JP2 boxes hold no JPEG 2000 codestream"):
            unwrap_jp2(damaged)
