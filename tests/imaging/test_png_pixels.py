import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cxr_ray.imaging.decode import decode_image
from cxr_ray.imaging.png_pixels import is_wide_colour, wide_samples, without_annotations

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(samples, *, bits, colour, chunks=(), rows=None, interlace=0):
    """A PNG written by hand: samples [H, W * channels], packed; only the first `rows` rows are in it."""
    height, width = samples.shape[0], samples.shape[1] // CHANNELS[colour]
    if bits == 16:
        packed = [row.astype(">u2").tobytes() for row in samples]
    else:
        digits = [[[int(d) for d in f"{value:0{bits}b}"] for value in row] for row in samples]
        packed = [np.packbits(np.array(row).ravel()).tobytes() for row in digits]
    body = b"".join(b"\0" + row for row in packed[:rows])
    header = struct.pack(">2I5B", width, height, bits, colour, 0, 0, interlace)
    extra = b"".join(chunk(*one) for one in chunks)
    if colour == 3:
        extra = chunk(b"PLTE", bytes(level for level in range(2**bits) for _ in range(3))) + extra
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


KINDS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (4, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)]


@pytest.mark.parametrize(("bits", "colour"), KINDS)
def test_missing_rows_are_truncated_and_black_rows_are_not(bits, colour):
    black = np.zeros((9, 6 * CHANNELS[colour]), np.uint16)
    assert decode_image(png(black, bits=bits, colour=colour)).error is None
    result = decode_image(png(black + 1, bits=bits, colour=colour, rows=5))
    assert (result.error_kind, result.error) == ("truncated", "png ends before its last pixel")


@pytest.mark.parametrize("height", [1, 2, 3, 8, 9])
def test_missing_rows_of_an_interlaced_png_are_truncated(height):
    buffer = io.BytesIO()
    body = bytes(4000)  # enough for every pass, all rows unfiltered and black
    header = struct.pack(">2I5B", 11, height, 8, 0, 0, 0, 1)
    for kept, error in ((body, None), (b"\0" * 3, "png ends before its last pixel")):
        buffer = (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(kept)) + chunk(b"IEND", b"")
        )
        assert decode_image(buffer).error == error


@pytest.mark.parametrize("value", [173, 255])
def test_a_row_that_looks_like_a_missing_one_is_none(value):
    np.testing.assert_array_equal(decode_image(png(np.full((5, 6), value), bits=8, colour=0)).pixels, value)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_sample_of_a_grey_png_is_black(bits):
    samples = np.arange(2 * 2**bits).reshape(2, -1) % 2**bits
    key = 2**bits - 1
    pixels = decode_image(png(samples, bits=bits, colour=0, chunks=[(b"tRNS", struct.pack(">H", key))])).pixels
    np.testing.assert_array_equal(pixels, np.where(samples == key, 0, samples * (255 // (2**bits - 1))))


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_colour_and_alpha_of_sixteen_bits_keep_their_depth(ramp12, colour):
    channels = [ramp12] * (1 if colour == 4 else 3) + [np.full_like(ramp12, 65535)] * (colour != 2)
    samples = np.stack(channels, -1)
    data = png(samples.reshape(64, -1), bits=16, colour=colour)
    assert is_wide_colour(data)
    np.testing.assert_array_equal(wide_samples(data), samples)
    np.testing.assert_array_equal(decode_image(data).pixels, np.rint(ramp12 / 4095 * 255))


def test_the_transparent_colour_of_sixteen_bits_is_matched_in_full():
    samples = np.array([[1, 2, 3, 1, 2, 4, 4095, 4095, 4095]])
    key = [(b"tRNS", struct.pack(">3H", 4095, 4095, 4095))]
    assert decode_image(png(samples * 16, bits=16, colour=2)).pixels.tolist() == [[0, 0, 255]]
    assert decode_image(png(samples, bits=16, colour=2, chunks=key)).pixels[0, 2] == 0


@pytest.mark.parametrize(
    "name_and_body",
    [
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000))),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000_000))),
        (b"iCCP", b"profile\0\7"),
        (b"gAMA", b"\0"),
        (b"pHYs", b"\0"),
    ],
)
def test_chunks_that_hold_no_pixels_do_not_matter(name_and_body):
    samples = np.arange(30).reshape(5, 6)
    data = png(samples, bits=8, colour=0, chunks=[name_and_body, (b"tRNS", struct.pack(">H", 7))])
    np.testing.assert_array_equal(decode_image(data).pixels, np.where(samples == 7, 0, samples))


def test_text_behind_the_pixels_does_not_matter():
    buffer, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)), after_idat=True)
    Image.new("L", (5, 5), 9).save(buffer, "PNG", pnginfo=info)
    assert decode_image(buffer.getvalue()).error is None


def test_what_decides_about_pixels_is_kept():
    data = png(np.zeros((1, 1), int), bits=8, colour=0, chunks=[(b"tEXt", b"a\0b"), (b"tRNS", b"\0\7")])
    assert without_annotations(data) == png(np.zeros((1, 1), int), bits=8, colour=0, chunks=[(b"tRNS", b"\0\7")])
