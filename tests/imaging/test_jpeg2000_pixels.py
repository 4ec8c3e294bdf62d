"""JPEG 2000 in DICOM is decoded at a reduced scale where a model wants less, and shows what the full scale shows."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging.codestream import read_jpeg2000_header
from cxr_ray.imaging.decode import decode_for_sizes, decode_image
from cxr_ray.imaging.jpeg2000_pixels import reduced_jpeg2000
from cxr_ray.imaging.radiograph import load_image
from cxr_ray.imaging.reduced_scale import reduced_by_blocks
from cxr_ray.imaging.resize import resize_image

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096, "BitsStored": 12}
J2K, HTJ2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"


def encoded(pixels, bits=12, **options):
    from openjpeg.utils import encode_array

    return encode_array(pixels, bits_stored=bits, **options)


def smooth(height, width, bits=12):
    """Pixels in which neighbours differ by little, with a bright square."""
    y, x = np.mgrid[:height, :width]
    pixels = (0.5 + 0.4 * np.sin(9 * x / width) * np.cos(7 * y / height)) * (2**bits - 1)
    pixels[height // 3 : height // 2, width // 3 : width // 2] = 2**bits - 1
    return np.rint(pixels).astype(np.uint8 if bits <= 8 else np.uint16)


@pytest.fixture(scope="module")
def broad():
    return smooth(1001, 937)


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 97), (127, 131)])
@pytest.mark.parametrize("bits", [7, 8, 10, 12, 16])
def test_a_reduced_image_is_the_mean_of_blocks(height, width, bits, reduction):
    pixels = np.full((height, width), 2**bits * 3 // 4, np.uint8 if bits <= 8 else np.uint16)
    for options in ({}, {"compression_ratios": [4]}):
        stream = encoded(pixels, bits, **options)
        words = reduced_jpeg2000(stream, read_jpeg2000_header(stream), reduction)
        assert (words.shape, words.dtype) == ((-(-height // reduction), -(-width // reduction)), pixels.dtype)
        assert abs(words.astype(int) - 2**bits * 3 // 4).max() <= 1


def test_signed_samples_are_twos_complement():
    stream = encoded(np.full((64, 64), -700, np.int16))
    assert (reduced_jpeg2000(stream, read_jpeg2000_header(stream), 4) == (-700) % 2**12).all()


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
@pytest.mark.parametrize("options", [{}, {"compression_ratios": [10]}])
def test_a_model_gets_what_the_full_scale_would_give_it(make_dicom, broad, syntax, options):
    data = make_dicom(broad, syntax=syntax, codestream=encoded(broad, **options), **WINDOW)
    full, reduced = decode_image(data), decode_image(data, wanted_size=224)
    assert (full.pixels.shape, reduced.pixels.shape) == ((1001, 937), (501, 469))
    assert (reduced.height, reduced.width) == (1001, 937)
    difference = resize_image(full.pixels, 224).astype(int) - resize_image(reduced.pixels, 224)
    assert abs(difference).max() <= 12  # at the edge of the square
    assert abs(difference).mean() < 0.3


def test_signed_images_and_inverted_ones_are_reduced_alike(make_dicom, broad):
    signed = broad.astype(np.int16) - 2048
    tags = {"BitsStored": 12, "WindowCenter": 0, "WindowWidth": 4096, "PhotometricInterpretation": "MONOCHROME1"}
    data = make_dicom(signed, syntax=J2K, codestream=encoded(signed), **tags)
    plain = make_dicom(broad, syntax=J2K, codestream=encoded(broad), **WINDOW)
    found, mirrored = (decode_image(one, wanted_size=224).pixels.astype(int) for one in (data, plain))
    assert found.shape == (501, 469)
    assert abs(255 - found - mirrored).max() <= 1


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": None},  # the range of all pixels is shown
        {"PixelPaddingValue": 0},  # padding would be averaged with pixels
        {"BitsStored": 10},  # other bits would be averaged with the samples
        {"PixelRepresentation": 1},  # the codestream is not signed
    ],
)
def test_an_image_that_reduced_samples_would_change_is_displayed_at_full_scale(make_dicom, broad, tags):
    data = make_dicom(broad, syntax=J2K, codestream=encoded(broad), **WINDOW | tags)
    expected = reduced_by_blocks(decode_image(data).pixels, 2)
    np.testing.assert_array_equal(decode_image(data, wanted_size=224).pixels, expected)


def test_the_pixels_for_a_size_do_not_depend_on_other_sizes(make_dicom, broad):
    data = make_dicom(broad, syntax=J2K, codestream=encoded(broad), **WINDOW)
    sizes = (512, 224, 100, 460)
    for size, image in zip(sizes, decode_for_sizes(data, sizes), strict=True):
        np.testing.assert_array_equal(image.pixels, decode_image(data, wanted_size=size).pixels)
        assert (image.height, image.width) == (1001, 937)


def test_an_image_in_memory_is_squashed_as_jobs_do_it(make_dicom, broad):
    data = make_dicom(broad, syntax=J2K, codestream=encoded(broad), **WINDOW)
    image = load_image(data)
    assert image.pixels.shape == (1001, 937)
    expected = resize_image(decode_image(data, wanted_size=224).pixels, 224)
    np.testing.assert_array_equal(image.squashed(224), expected)


def test_a_codestream_without_resolutions_stays_at_full_scale(make_dicom, broad):
    stream = bytearray(encoded(broad))
    levels = stream.index(b"\xff\x52") + 9
    claimed = bytes(stream[:levels]) + b"\0" + bytes(stream[levels + 1 :])
    assert read_jpeg2000_header(claimed).levels == 0
    data = make_dicom(broad, syntax=J2K, codestream=claimed, **WINDOW)
    assert decode_image(data, wanted_size=224).error_kind == decode_image(data).error_kind


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.99])
def test_a_codestream_that_was_cut_is_refused_at_every_scale(make_dicom, broad, kept):
    stream = encoded(broad)
    cut = stream[: int(kept * len(stream))]
    for end in (b"", b"\xff\xd9"):
        data = make_dicom(broad, syntax=J2K, codestream=cut + end, **WINDOW)
        full, reduced = decode_image(data), decode_image(data, wanted_size=224)
        assert (reduced.error_kind, reduced.error) == (full.error_kind, full.error)


def test_a_picture_of_another_maker_is_reduced(make_dicom):
    grey = Image.fromarray(smooth(960, 960, 8))
    buffer = BytesIO()
    grey.save(buffer, "JPEG2000", no_jp2=True, num_resolutions=3, tile_size=(256, 192))
    tags = {"WindowCenter": 128, "WindowWidth": 256}
    data = make_dicom(np.asarray(grey), syntax=J2K, codestream=buffer.getvalue(), **tags)
    reduced = decode_image(data, wanted_size=224)
    assert reduced.pixels.shape == (480, 480)
    expected = np.asarray(grey.resize((480, 480), Image.Resampling.BOX))
    assert abs(reduced.pixels.astype(int) - expected).mean() < 1
