import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, JpegImagePlugin

from cxr_ray.imaging.decode import DecodeLimits, decode_image
from cxr_ray.imaging.reduced_scale import min_side, scale_reduction


def encode(image, pillow_name="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, pillow_name, **options)
    return buffer.getvalue()


def png(width, height, *, bits, colour, rows, interlace=0, chunks=()):
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">2I5B", width, height, bits, colour, 0, 0, interlace)
    body = b"".join(chunk(name, content) for name, content in chunks)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + pixels + chunk(b"IEND", b"")


def decoded(data, **arguments):
    result = decode_image(data, **arguments)
    assert result.error is None
    assert result.pixels.dtype == np.uint8
    assert result.pixels.flags.writeable
    return result.pixels


def test_grey_png_comes_back_exactly(radiograph):
    result = decode_image(encode(Image.fromarray(radiograph)))
    np.testing.assert_array_equal(result.pixels, radiograph)
    assert (result.format, result.width, result.height) == ("png", 80, 96)


def test_one_bit_png():
    bits = np.random.default_rng(0).random((9, 13)) > 0.5
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(bits))), bits * np.uint8(255))


def test_palette_png_shows_its_colours(radiograph):
    image = Image.fromarray(radiograph).convert("P")
    image.putpalette([255 - level for level in range(256) for _ in range(3)])
    np.testing.assert_array_equal(decoded(encode(image)), 255 - radiograph)


def test_transparent_palette_entry_is_black(radiograph):
    image = Image.fromarray(radiograph).convert("P")
    image.putpalette([level for level in range(256) for _ in range(3)])
    expected = np.where(radiograph == radiograph[5, 5], 0, radiograph)
    np.testing.assert_array_equal(decoded(encode(image, transparency=int(radiograph[5, 5]))), expected)


def test_rgb_png_is_pillows_luma():
    rgb = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(rgb))), Image.fromarray(rgb).convert("L"))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_black(radiograph, mode):
    image = Image.fromarray(radiograph).convert(mode)
    alpha = np.full(radiograph.shape, 255, np.uint8)
    alpha[:40], alpha[40:60] = 0, 128
    image.putalpha(Image.fromarray(alpha))
    expected = np.rint(radiograph * (alpha / 255))
    assert abs(decoded(encode(image)) - expected).max() <= 1
    np.testing.assert_array_equal(decoded(encode(image))[60:], radiograph[60:])


def test_interlaced_png():
    # Adam7 for 2x2 pixels: pass 1 holds (0, 0), pass 6 (0, 1), pass 7 the second row.
    data = png(2, 2, bits=8, colour=0, rows=b"\0\x0a" + b"\0\x14" + b"\0\x1e\x28", interlace=1)
    np.testing.assert_array_equal(decoded(data), [[10, 20], [30, 40]])


def test_sixteen_bits_of_a_scaled_up_image_come_back_exactly(radiograph):
    wide = radiograph.astype(np.uint16) * 257
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(wide))), radiograph)


def test_twelve_bits_in_a_sixteen_bit_png(ramp12):
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(ramp12))), np.rint(ramp12 / 4095 * 255))


def test_transparent_sixteen_bit_value_is_black(ramp12):
    chunks = [(b"tRNS", struct.pack(">H", 4095))]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in ramp12)
    pixels = decoded(png(48, 64, bits=16, colour=0, rows=rows, chunks=chunks))
    assert pixels[-1, -1] == 0


@pytest.mark.parametrize("colour", [2, 6])
def test_sixteen_bit_colour_png_gives_its_high_bytes(radiograph, colour):
    channels = [radiograph] * 3 + [np.full_like(radiograph, 255)] * (colour == 6)
    samples = np.stack(channels, -1).astype(">u2") * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    np.testing.assert_array_equal(decoded(png(80, 96, bits=16, colour=colour, rows=rows)), radiograph)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:2:0"}, {"keep_rgb": True}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_equals_pillow(radiograph, mode, options):
    if options.get("keep_rgb") and mode != "RGB":
        pytest.skip("only RGB can be kept")
    image = Image.merge("RGB", [Image.fromarray(np.roll(radiograph, s)) for s in (0, 9, 30)]).convert(mode)
    data = encode(image, "JPEG", quality=90, **options)
    np.testing.assert_array_equal(decoded(data), Image.open(io.BytesIO(data)).convert("L"))


def test_cmyk_of_adobe_is_not_negative(radiograph):
    data = encode(Image.fromarray(radiograph).convert("RGB").convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert abs(decoded(data).astype(int) - radiograph).mean() < 4


@pytest.mark.parametrize("pillow_name", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(radiograph, orientation, pillow_name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(radiograph), pillow_name, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    result = decode_image(data)
    np.testing.assert_array_equal(result.pixels, expected)
    assert (result.height, result.width) == expected.shape


def test_damaged_exif_leaves_the_picture(radiograph):
    data = encode(Image.fromarray(radiograph), "JPEG", exif=b"Exif\0\0XX*\0nonsense")
    np.testing.assert_array_equal(decoded(data), Image.open(io.BytesIO(data)).convert("L"))


@pytest.mark.parametrize(
    ("size", "wanted", "reduced"),
    [
        ((2000, 1600), 400, (1000, 800)),
        ((2000, 1000), 250, (1000, 500)),
        ((790, 1600), 400, (790, 1600)),
        ((3600, 3600), 224, (450, 450)),
        ((3600, 3600), 32, (450, 450)),  # the same reduction as for 224
    ],
)
def test_a_jpeg_is_reduced_while_both_sides_stay_twice_as_large(size, wanted, reduced):
    gradient = np.add.outer(np.linspace(0, 120, size[1]), np.linspace(0, 130, size[0])).astype(np.uint8)
    data = encode(Image.fromarray(gradient).convert("RGB"), "JPEG", quality=95)
    result = decode_image(data, wanted_size=wanted)
    assert result.pixels.shape == reduced[::-1]
    assert (result.width, result.height) == size
    full = Image.fromarray(gradient).resize((wanted, wanted), Image.Resampling.BILINEAR)
    ours = Image.fromarray(result.pixels).resize((wanted, wanted), Image.Resampling.BILINEAR)
    assert abs(np.asarray(full).astype(int) - np.asarray(ours)).max() <= 2


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 600))
def test_the_reduction_is_foretold(width, height, wanted):
    with Image.open(io.BytesIO(encode(Image.new("L", (width, height)), "JPEG"))) as image:
        image.draft("L", (min_side(wanted), min_side(wanted)))
        reduction = scale_reduction(width, height, wanted)
        assert image.size == (-(-width // reduction), -(-height // reduction))


def test_draft_gives_luma_within_a_level(radiograph):
    data = encode(Image.fromarray(radiograph).convert("RGB"), "JPEG", quality=90)
    full_scale = decoded(data, wanted_size=80).astype(int)
    assert abs(full_scale - np.asarray(Image.open(io.BytesIO(data)).convert("L"))).max() <= 1


@pytest.mark.parametrize("keep", [0.99, 0.7, 0.4, 0.1])
@pytest.mark.parametrize("options", [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True})])
def test_a_file_cut_short_is_truncated(radiograph, keep, options):
    name, arguments = options
    data = encode(Image.fromarray(np.tile(radiograph, (6, 6))), name, **arguments)
    result = decode_image(data[: int(len(data) * keep)])
    assert (result.error_kind, result.error) == ("truncated", f"{name.lower()} ends before its last pixel")
    assert result.format == name.lower()


def test_a_damaged_png_is_unreadable(radiograph):
    data = bytearray(encode(Image.fromarray(radiograph)))
    middle = data.index(b"IDAT") + 40
    data[middle : middle + 8] = bytes(8)
    assert decode_image(bytes(data)).error_kind in ("unreadable", "truncated")
    header = data.index(b"IHDR") + 8
    data[header] ^= 0xFF
    assert decode_image(bytes(data)).error_kind == "unreadable"


def test_a_damaged_jpeg_that_has_its_end_is_unreadable(radiograph):
    data = bytearray(encode(Image.fromarray(radiograph), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 5  # bits per sample
    result = decode_image(bytes(data))
    assert (result.error_kind, result.error) == ("unreadable", "jpeg is damaged (SyntaxError)")
    result = decode_image(bytes(data[:-2]))
    assert (result.error_kind, result.error) == ("truncated", "jpeg ends before its last pixel")


def test_a_tiny_file_that_claims_60000_x_60000_is_refused_unseen():
    import tracemalloc

    data = png(60_000, 60_000, bits=8, colour=6, rows=bytes(64))
    tracemalloc.start()
    result = decode_image(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.error_kind == "too_large"
    assert result.error == "image of 60000x60000 pixels has more than max_megapixels=100"
    assert peak < 5e6


def test_a_jpeg_that_claims_65000_x_65000_is_refused(radiograph):
    data = bytearray(encode(Image.fromarray(radiograph), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">2H", 65_000, 65_000)
    assert decode_image(bytes(data)).error_kind == "too_large"


def test_samples_count_with_their_channels():
    data = png(1000, 1000, bits=8, colour=2, rows=bytes(1000 * 3001))
    assert decode_image(data, limits=DecodeLimits(max_bytes=2_999_999)).error_kind == "too_large"
    assert decode_image(data, limits=DecodeLimits(max_bytes=3_000_000)).pixels.shape == (1000, 1000)


def test_a_raised_limit_is_not_undercut_by_pillows_own(monkeypatch, radiograph):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for pillow_name in ("PNG", "JPEG"):
        assert decode_image(encode(Image.fromarray(radiograph), pillow_name)).error is None


def test_a_multi_picture_jpeg_gives_its_first_picture(radiograph):
    image = Image.fromarray(radiograph)
    data = encode(image, "MPO", save_all=True, append_images=[image.rotate(180)])
    expected = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    np.testing.assert_array_equal(decoded(data), expected)
