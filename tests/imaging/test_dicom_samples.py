import io
import struct

import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging.decode import DecodeLimits, decode_image
from cxr_ray.imaging.dicom_display import to_display
from cxr_ray.imaging.dicom_pixel_data import PixelData
from cxr_ray.imaging.dicom_samples import decode_samples

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def rle(data):
    """Compress a DICOM file to RLE Lossless with pydicom's encoder."""
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.compress(pydicom.uid.RLELossless)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def shown(data, **arguments):
    result = decode_image(data, **arguments)
    assert result.error is None
    assert result.format == "dicom"
    return result.pixels


def unit(samples):
    """Scale samples so that their range becomes 0 to 255."""
    samples = samples.astype(float)
    return np.rint((samples - samples.min()) / (samples.max() - samples.min()) * 255)


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("preamble", [True, False])
def test_native_samples(make_dicom, ramp12, syntax, preamble):
    signed = ramp12.astype(np.int16) - 2048
    for pixels in ((ramp12 >> 4).astype(np.uint8), ramp12, signed):
        data = make_dicom(pixels, syntax=syntax, preamble=preamble, BitsStored=min(12, pixels.itemsize * 8))
        np.testing.assert_array_equal(shown(data), unit(pixels))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_bits_above_those_stored_are_ignored(make_dicom, ramp12, bits):
    pixels = (ramp12 >> 2).astype(np.uint16)
    dirty = pixels | np.uint16((0xFFFF << bits) & 0xFFFF)
    np.testing.assert_array_equal(shown(make_dicom(dirty, BitsStored=bits)), unit(pixels))


def test_rle(make_dicom, ramp12, radiograph):
    for pixels in (radiograph, ramp12, ramp12.astype(np.int16) - 2048):
        data = make_dicom(pixels, BitsStored=min(12, pixels.itemsize * 8))
        np.testing.assert_array_equal(shown(rle(data)), shown(data))
    colour = np.stack([radiograph, radiograph.T[:80, :80].repeat(2, 0)[:96], 255 - radiograph], -1)
    data = make_dicom(np.ascontiguousarray(colour))
    np.testing.assert_array_equal(shown(rle(data)), Image.fromarray(colour).convert("L"))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg_baseline_and_eight_bit_extended(make_dicom, radiograph, options):
    codestream = jpeg(radiograph, **options)
    expected = unit(np.asarray(Image.open(io.BytesIO(codestream))))
    for suffix in ("50", "51"):
        data = make_dicom(radiograph, syntax=f"1.2.840.10008.1.2.4.{suffix}", codestream=codestream)
        np.testing.assert_array_equal(shown(data), expected)


def test_colour_jpeg_in_dicom_is_luma(make_dicom, radiograph):
    colour = np.stack([radiograph, np.roll(radiograph, 3), radiograph], -1)
    codestream = jpeg(colour)
    data = make_dicom(
        colour,
        syntax="1.2.840.10008.1.2.4.50",
        codestream=codestream,
        PhotometricInterpretation="YBR_FULL_422",
    )
    expected = np.asarray(Image.open(io.BytesIO(codestream)).convert("L")).astype(int)
    assert abs(shown(data) - expected).max() <= 2


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("JPEGLosslessProcess14", "57"),
        ("JPEGLosslessProcess14_1", "70"),
        ("JPEGLSLossless", "80"),
        ("JPEGLSNearLossless", "81"),
        ("JPEG2000Lossless", "90"),
        ("JPEG2000", "91"),
        ("JPEGExtendedProcess2_4", "51"),
    ],
)
def test_what_gdcm_compresses(make_dicom, transcode, ramp12, name, syntax):
    signed = ramp12.astype(np.int16) - 2048
    images = [ramp12] if syntax == "51" else [(ramp12 >> 4).astype(np.uint8), ramp12, signed]
    for pixels in images:
        data = transcode(make_dicom(pixels, BitsStored=min(12, pixels.itemsize * 8)), name)
        assert f"1.2.840.10008.1.2.4.{syntax}".encode() in data[:600]
        tolerance = 1 if syntax == "51" else 0  # syntax 51 is the only lossy one
        np.testing.assert_allclose(shown(data), unit(pixels), rtol=0, atol=tolerance)


def test_colour_in_jpeg2000_and_in_lossless_jpeg(make_dicom, transcode, radiograph):
    colour = np.ascontiguousarray(np.stack([radiograph, 255 - radiograph, radiograph // 2], -1))
    native = make_dicom(colour)
    expected = Image.fromarray(colour).convert("L")
    np.testing.assert_array_equal(shown(transcode(native, "JPEG2000Lossless")), expected)
    for name in ("JPEGLosslessProcess14_1", "JPEGLSLossless"):
        result = decode_image(transcode(native, name))
        assert result.error_kind == "unsupported"
        assert result.error == "colour in lossless JPEG or JPEG-LS is not supported"


@pytest.mark.parametrize(
    "annotation",
    ["ffe000104a46494600090100000100010000", "ffee000e41646f6265006400000000ff", "fffe0004abcd"],
)
def test_annotations_on_which_gdcm_would_abort_are_not_shown_to_it(make_dicom, transcode, ramp12, annotation):
    native = make_dicom(ramp12, BitsStored=12)
    data = transcode(native, "JPEGLosslessProcess14_1")
    codestream = data[data.index(b"\xff\xd8\xff\xc3") : data.rindex(b"\xff\xd9") + 2]
    annotated = codestream[:2] + bytes.fromhex(annotation) + codestream[2:]
    data = make_dicom(ramp12, syntax="1.2.840.10008.1.2.4.70", codestream=annotated, BitsStored=12)
    np.testing.assert_array_equal(shown(data), shown(native))


@pytest.mark.parametrize("suffix", ["90", "91", "201", "202", "203"])
def test_jpeg2000_by_openjpeg(make_dicom, ramp12, suffix):
    from openjpeg.utils import encode_array

    codestream = encode_array(ramp12, bits_stored=12)
    data = make_dicom(ramp12, syntax=f"1.2.840.10008.1.2.4.{suffix}", codestream=codestream, BitsStored=12)
    np.testing.assert_array_equal(shown(data), unit(ramp12))


@pytest.mark.parametrize(
    ("name", "same_as"),
    [
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("JPEGLSNearLossless_16.dcm", "JPEGLSNearLossless_16.dcm"),
        ("JPEG2000.dcm", "JPEG2000.dcm"),
    ],
)
def test_files_of_other_makers(name, same_as):
    import pydicom
    from pydicom.data import get_testdata_file

    dataset = pydicom.dcmread(get_testdata_file(name, download=False))
    dataset.Modality = "OT"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    pixels = shown(buffer.getvalue())
    reference = pydicom.dcmread(get_testdata_file(same_as, download=False))
    np.testing.assert_array_equal(pixels, to_display(reference.pixel_array, reference))


def test_twelve_bit_extended_jpeg_of_another_maker():
    import pydicom
    from pydicom.data import get_testdata_file

    dataset = pydicom.dcmread(get_testdata_file("JPGExtended.dcm", download=False))
    pixels = PixelData(value=memoryview(dataset.PixelData), is_undefined=False)
    samples = decode_samples(dataset, pixels, limits=DecodeLimits())
    assert (samples[420, 140], samples[230, 120]) == (244, 95)  # the values that pydicom's own tests expect


@pytest.mark.parametrize(("rows", "columns", "expected"), [(30_000, 30_000, "too_large"), (65_535, 1, "truncated")])
def test_the_header_is_checked_before_pixels(make_dicom, radiograph, rows, columns, expected):
    assert decode_image(make_dicom(radiograph, Rows=rows, Columns=columns)).error_kind == expected


def test_samples_count_against_max_bytes(make_dicom, ramp12):
    data = make_dicom(ramp12)
    size = len(data)
    assert decode_image(data, limits=DecodeLimits(max_bytes=size)).error is None
    assert decode_image(data, limits=DecodeLimits(max_bytes=size - 1)).error_kind == "too_large"


def test_a_codestream_larger_than_its_dicom_header_is_refused(make_dicom, radiograph, ramp12):
    from openjpeg.utils import encode_array

    huge = bytearray(jpeg(radiograph))
    frame = huge.index(b"\xff\xc0")
    huge[frame + 5 : frame + 9] = struct.pack(">2H", 30_000, 30_000)
    for suffix in ("50", "51", "57", "70", "80"):
        data = make_dicom(radiograph, syntax=f"1.2.840.10008.1.2.4.{suffix}", codestream=bytes(huge))
        result = decode_image(data)
        assert result.error_kind == "unreadable"
        assert result.error.startswith(
            "codestream has 30000x30000x1 samples of 8 bits; the DICOM header claims 80x96x1"
        )
    huge = bytearray(encode_array(ramp12, bits_stored=12))
    huge[8:16] = struct.pack(">2I", 30_000, 30_000)
    result = decode_image(make_dicom(ramp12, syntax="1.2.840.10008.1.2.4.90", codestream=bytes(huge)))
    assert (result.error_kind, result.error[:29]) == ("unreadable", "codestream has 30000x30000x1 ")


def test_a_codestream_of_another_process_is_refused(make_dicom, radiograph):
    data = make_dicom(radiograph, syntax="1.2.840.10008.1.2.4.70", codestream=jpeg(radiograph))
    assert decode_image(data).error == "codestream uses JPEG process 0xc0, which its transfer syntax does not allow"


def test_too_few_samples_are_truncated(make_dicom, radiograph):
    data = make_dicom(radiograph, Rows=radiograph.shape[0] + 1)
    assert decode_image(data).error_kind == "truncated"
    assert decode_image(data).error == "Pixel Data has 7680 bytes; the DICOM header claims 7760"


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"BitsAllocated": 32, "Rows": 48}, "DICOM file has 32 bits per sample; only 8 or 16 are supported"),
        ({"BitsAllocated": 1}, "DICOM file has 1 bits per sample; only 8 or 16 are supported"),
        (
            {"PhotometricInterpretation": "HSV"},
            "photometric interpretation with 1 samples per pixel is not supported",
        ),
        ({"SamplesPerPixel": 4}, "photometric interpretation with 4 samples per pixel is not supported"),
    ],
)
def test_unsupported_layouts_are_named(make_dicom, radiograph, tags, message):
    result = decode_image(make_dicom(radiograph, **tags))
    assert (result.error_kind, result.error) == ("unsupported", message)


def test_bits_above_those_stored_are_no_part_of_a_compressed_sample(make_dicom, transcode, ramp12):
    from openjpeg.utils import encode_array

    dirty = ramp12 | np.uint16(1 << 12)
    data = make_dicom(dirty, syntax="1.2.840.10008.1.2.4.90", codestream=encode_array(dirty), BitsStored=12)
    np.testing.assert_array_equal(shown(data), unit(ramp12))
    for name, syntax in (("JPEGLosslessProcess14_1", "70"), ("JPEGLSLossless", "80")):
        wide = transcode(make_dicom(dirty), name)
        codestream = wide[wide.rindex(b"\xff\xd8\xff") : wide.rindex(b"\xff\xd9") + 2]
        data = make_dicom(dirty, syntax=f"1.2.840.10008.1.2.4.{syntax}", codestream=codestream, BitsStored=12)
        np.testing.assert_array_equal(shown(data), unit(ramp12))


def test_an_unsigned_jpeg2000_of_signed_samples(make_dicom, ramp12):
    from openjpeg.utils import encode_array

    signed = ramp12.astype(np.int16) - 2048
    codestream = encode_array((signed & 0xFFF).astype(np.uint16), bits_stored=12)
    data = make_dicom(signed, syntax="1.2.840.10008.1.2.4.90", codestream=codestream, BitsStored=12)
    np.testing.assert_array_equal(shown(data), unit(signed))


@pytest.mark.parametrize(("name", "syntax"), [("JPEGExtendedProcess2_4", "51"), ("", "91")])
def test_the_overshoot_of_a_lossy_codec_is_white(make_dicom, transcode, ramp12, name, syntax):
    from openjpeg.utils import encode_array

    if name:
        wide = transcode(make_dicom(ramp12, BitsStored=12), name)
        codestream = wide[wide.rindex(b"\xff\xd8\xff") : wide.rindex(b"\xff\xd9") + 2]
    else:
        codestream = encode_array(ramp12, bits_stored=12, compression_ratios=[2])
    window = {"WindowCenter": 512, "WindowWidth": 1024}
    data = make_dicom(ramp12, syntax=f"1.2.840.10008.1.2.4.{syntax}", codestream=codestream, BitsStored=10, **window)
    np.testing.assert_allclose(shown(data), np.rint(np.clip(ramp12, 0, 1023) / 1023 * 255), rtol=0, atol=1)


def test_jpeg2000_in_the_boxes_of_a_file(make_dicom, ramp12):
    from openjpeg.utils import encode_array

    codestream = encode_array(ramp12, bits_stored=12, codec_format=1)
    data = make_dicom(ramp12, syntax="1.2.840.10008.1.2.4.90", codestream=codestream, BitsStored=12)
    np.testing.assert_array_equal(shown(data), unit(ramp12))


def test_eight_bits_in_words_of_sixteen(make_dicom, radiograph):
    words = radiograph.astype(np.uint16)
    expected = np.asarray(Image.open(io.BytesIO(jpeg(radiograph))))
    filled = jpeg(radiograph).replace(b"\xff\xd8", b"\xff\xd8\xff\xff", 1)
    data = make_dicom(words, syntax="1.2.840.10008.1.2.4.50", codestream=filled, BitsStored=8)
    np.testing.assert_array_equal(shown(data), unit(expected))


def test_a_jpeg_with_a_hole_is_refused(make_dicom, radiograph):
    codestream = jpeg(np.tile(radiograph, (3, 3)))
    damaged = codestream[:3000] + bytes(512) + codestream[3512:]
    pixels = np.tile(radiograph, (3, 3))
    result = decode_image(make_dicom(pixels, syntax="1.2.840.10008.1.2.4.50", codestream=damaged))
    assert result.error_kind in ("unreadable", "truncated")
