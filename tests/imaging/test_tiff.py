"""TIFF: depth, byte order and pages are read right or refused, never clipped."""

import io
import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps, TiffImagePlugin

from cxr_ray.imaging.decode import DecodeLimits, decode_image
from cxr_ray.imaging.grey_levels import scale_occupied_bits
from cxr_ray.imaging.limits import ErrorKind

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP, SAMPLES, ROWS, STRIP_BYTES, TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT = 273, 277, 278, 279, 322, 323, 339
ORDERS = ["<", ">"]
READ = [("<", False), (">", False), ("<", True)]  # byte order, and whether a BigTIFF
FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff(samples, order="<", *, big=False, pages=1, tags=None, strip=None):
    """An uncompressed TIFF of one strip, written by hand: numbers [H, W] in the byte order `order`, then directories."""
    if strip is None:
        strip = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    number, counter, kind, start = ("Q", "Q", 16, 16) if big else ("L", "H", 4, 8)
    end = start + len(strip)
    header = struct.pack(f"{order}HHHQ", 43, 8, 0, end) if big else struct.pack(f"{order}HL", 42, end)
    file = {"<": b"II", ">": b"MM"}[order] + header + strip
    entries = {
        WIDTH: samples.shape[1], HEIGHT: samples.shape[0], BITS: samples.dtype.itemsize * 8, COMPRESSION: 1,
        PHOTOMETRIC: 1, STRIP: start, SAMPLES: 1, ROWS: samples.shape[0], STRIP_BYTES: len(strip),
        SAMPLE_FORMAT: FORMATS[samples.dtype.kind],
    } | (tags or {})  # fmt: skip
    for page in range(1, pages + 1):
        directory = struct.pack(order + counter, len(entries))
        for tag, value in sorted(entries.items()):
            directory += struct.pack(f"{order}HH2{number}", tag, kind, 1, value)
        end = len(file) + len(directory) + struct.calcsize(order + number)
        file += directory + struct.pack(order + number, end if page < pages else 0)
    return file


def written(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", **options)
    return buffer.getvalue()


def decoded(data):
    result = decode_image(data)
    assert result.error is None
    assert result.format == "tiff"
    assert result.pixels.dtype == np.uint8
    assert (result.height, result.width) == result.pixels.shape
    return result.pixels


def refusal(data, **limits):
    result = decode_image(data, limits=DecodeLimits(**limits))
    assert (result.pixels, result.format) == (None, "tiff")
    return result.error_kind, result.error


@pytest.mark.parametrize(("order", "big"), READ)
def test_eight_bits_come_back_exactly(radiograph, order, big):
    np.testing.assert_array_equal(decoded(tiff(radiograph, order, big=big)), radiograph)


@pytest.mark.parametrize(("order", "big"), READ)
def test_sixteen_bits_keep_their_depth_in_either_byte_order(ramp12, order, big):
    np.testing.assert_array_equal(decoded(tiff(ramp12, order, big=big)), np.rint(ramp12 / 4095 * 255))


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.sampled_from(ORDERS))
def test_any_sixteen_bits_are_scaled_as_those_of_a_png(samples, order):
    np.testing.assert_array_equal(decoded(tiff(samples, order)), scale_occupied_bits(samples))


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_samples_are_the_same(radiograph, ramp12, compression):
    np.testing.assert_array_equal(decoded(written(Image.fromarray(radiograph), compression=compression)), radiograph)
    wide = decoded(written(Image.fromarray(ramp12), compression=compression))
    np.testing.assert_array_equal(wide, np.rint(ramp12 / 4095 * 255))
    bits = radiograph > 100
    np.testing.assert_array_equal(decoded(written(Image.fromarray(bits), compression="group4")), bits * np.uint8(255))


def test_white_is_zero_is_inverted(radiograph, ramp12):
    white_is_zero = {PHOTOMETRIC: 0}
    for order in ORDERS:
        np.testing.assert_array_equal(decoded(tiff(255 - radiograph, order, tags=white_is_zero)), radiograph)
    np.testing.assert_array_equal(decoded(tiff(ramp12, tags=white_is_zero)), 255 - np.rint(ramp12 / 4095 * 255))


def test_twelve_bits_in_three_bytes_for_two_samples():
    samples = np.array([[0, 1000, 2000, 4095]], np.uint16)
    strip = int("".join(f"{value:012b}" for value in samples[0]), 2).to_bytes(6, "big")
    pixels = decoded(tiff(samples, tags={BITS: 12}, strip=strip))
    np.testing.assert_array_equal(pixels, np.rint(samples / 4095 * 255))


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "P"])
def test_colour_of_eight_bits_is_pillows_luma(radiograph, mode):
    image = Image.merge("RGB", [Image.fromarray(np.roll(radiograph, s)) for s in (0, 9, 30)]).convert(mode)
    np.testing.assert_array_equal(decoded(written(image)), np.asarray(image.convert("L")))


def test_transparency_lies_on_black(radiograph):
    image = Image.fromarray(radiograph).convert("RGBA")
    alpha = np.full(radiograph.shape, 255, np.uint8)
    alpha[:40] = 0
    image.putalpha(Image.fromarray(alpha))
    np.testing.assert_array_equal(decoded(written(image)), np.where(alpha > 0, radiograph, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_orientation_is_applied_once(radiograph, ramp12, orientation, compression):
    for image, expected in (
        (Image.fromarray(radiograph), radiograph),
        (Image.fromarray(ramp12), np.rint(ramp12 / 4095 * 255)),
    ):
        data = written(image, tiffinfo={0x0112: orientation}, compression=compression)
        shown = Image.fromarray(expected.astype(np.uint8))
        shown.getexif()[0x0112] = orientation
        np.testing.assert_array_equal(decoded(data), np.asarray(ImageOps.exif_transpose(shown)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.float32, np.float64, np.int16])
def test_what_pillow_would_clip_is_refused(dtype, order):
    kind, message = refusal(tiff(np.array([[0, 300], [700, 30000]], dtype), order))
    assert kind == "unsupported"
    assert message.startswith("tiff ")


def test_a_bigtiff_in_big_endian_order_is_refused(radiograph):
    assert refusal(tiff(radiograph, ">", big=True)) == (
        "unsupported",
        "BigTIFF in big-endian byte order is not supported",
    )


@pytest.mark.parametrize("mode", ["RGB;16", "LAB"])
def test_colour_that_loses_depth_is_refused(mode, radiograph):
    if mode == "LAB":
        data = written(Image.merge("LAB", [Image.fromarray(radiograph)] * 3))
    else:
        pixels = np.zeros((2, 3), np.uint16)
        data = tiff(pixels, tags={SAMPLES: 3, PHOTOMETRIC: 2, STRIP_BYTES: 36}, strip=bytes(36))
    assert refusal(data)[0] == "unsupported"


@pytest.mark.parametrize(("order", "big"), READ)
def test_several_pages_are_refused(radiograph, order, big):
    assert refusal(tiff(radiograph, order, big=big, pages=3)) == (
        "multi_frame",
        "tiff has several pages; only files of one page are read",
    )


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("keep", [0.99, 0.7, 0.4, 0.02])
def test_a_file_cut_short_is_truncated(radiograph, compression, keep):
    data = written(Image.fromarray(np.tile(radiograph, (6, 6))), compression=compression)
    assert refusal(data[: int(len(data) * keep)])[0] == "truncated"


@pytest.mark.parametrize("keep", [0.99, 0.7, 0.4])
@pytest.mark.parametrize(("order", "big"), READ)
def test_a_file_without_its_directory_is_truncated(radiograph, keep, order, big):
    data = tiff(radiograph, order, big=big)
    assert refusal(data[: int(len(data) * keep)]) == ("truncated", "tiff ends before the end of its directory of tags")


def test_no_warning_of_pillow_is_shown(radiograph):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        TiffImagePlugin.TiffImageFile(io.BytesIO(tiff(radiograph)[:-2]))
        assert "Corrupt EXIF data" in str(seen[0].message)
        seen.clear()
        decode_image(tiff(radiograph)[:-2])
    assert seen == []


def test_a_strip_that_runs_over_the_end_is_truncated(radiograph):
    data = tiff(radiograph, tags={STRIP_BYTES: radiograph.size + 10**6, HEIGHT: 5000})
    assert refusal(data) == ("truncated", "tiff ends before its last pixel")


def test_a_tiny_file_that_claims_60000_x_60000_is_refused_unseen(radiograph):
    import tracemalloc

    data = tiff(radiograph, tags={WIDTH: 60_000, HEIGHT: 60_000, COMPRESSION: 8})
    tracemalloc.start()
    kind, message = refusal(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (kind, message) == ("too_large", "image of 60000x60000 pixels has more than max_megapixels=100")
    assert peak < 5e6


def test_a_tile_that_is_larger_than_the_limits_is_refused(radiograph):
    tiles = {TILE_WIDTH: 60_000, TILE_LENGTH: 60_000, 324: 8, 325: 7680, COMPRESSION: 8}
    assert refusal(tiff(radiograph, tags=tiles))[0] == "too_large"


def test_samples_of_sixteen_bits_count_twice(ramp12):
    data = written(Image.fromarray(ramp12), compression="tiff_lzw")
    assert len(data) < 2 * ramp12.size
    assert refusal(data, max_bytes=2 * ramp12.size - 1)[0] == "too_large"
    assert decode_image(data, limits=DecodeLimits(max_bytes=2 * ramp12.size)).error is None


def test_what_is_larger_than_pillow_decodes_is_too_large(monkeypatch, radiograph):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert refusal(tiff(radiograph))[0] == "too_large"


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_give_pixels_or_an_error_kind(data):
    samples = np.arange(48, dtype=np.uint16).reshape(6, 8) * 500
    order, compression = data.draw(st.sampled_from(ORDERS)), data.draw(st.sampled_from([1, 5, 8, 32773, 7, 4]))
    file = bytearray(tiff(samples, order, tags={COMPRESSION: compression}))
    for _ in range(data.draw(st.integers(0, 6))):
        file[data.draw(st.integers(4, len(file) - 1))] = data.draw(st.integers(0, 255))
    result = decode_image(bytes(file), limits=DecodeLimits(max_megapixels=1))
    assert (result.pixels is None) == (result.error_kind is not None) == (result.error is not None)
    assert result.pixels is None or (result.pixels.dtype == np.uint8 and result.pixels.ndim == 2)
    assert result.error is None or (result.error_kind in set(ErrorKind) and "\n" not in result.error)
