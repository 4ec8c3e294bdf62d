"""One radiograph in memory: its pixels are those of the archive jobs, and a broken one says what is wrong."""

import hashlib
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from cxr_ray.errors import CxrRayError, ImageError
from cxr_ray.imaging.decode import decode_image
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.radiograph import load_image
from cxr_ray.imaging.resize import resize_image


def encoded(pixels, image_format, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def grain():
    """uint8 [900, 1000] of noise, in which any other way to shrink it shows."""
    return np.random.default_rng(5).integers(0, 256, (900, 1000), dtype=np.uint8)


def test_a_file_and_its_bytes_give_the_same(tmp_path, grain):
    path = tmp_path / "radiograph.png"
    path.write_bytes(encoded(grain, "PNG"))
    from_path, from_uri, from_bytes = load_image(path), load_image(f"file://{path}"), load_image(path.read_bytes())
    for image in (from_path, from_uri, from_bytes):
        np.testing.assert_array_equal(image.pixels, grain)
        assert (image.format, image.height, image.width) == ("png", 900, 1000)
        assert image.content_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (from_path.name, from_bytes.name) == (str(path), "image in memory")


def test_a_jpeg_is_shrunk_from_the_scale_that_scoring_decodes(grain):
    data = encoded(grain, "JPEG", quality=90)
    image, reduced = load_image(data), decode_image(data, wanted_size=64)
    assert image.pixels.shape == (900, 1000)
    assert reduced.pixels is not None
    assert reduced.pixels.shape == (450, 500)
    np.testing.assert_array_equal(image.squashed(64), resize_image(reduced.pixels, 64))
    assert (image.squashed(64) != resize_image(image.pixels, 64)).any(), "else this test could not fail"


def test_an_orientation_is_applied(grain):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    image = load_image(encoded(grain, "JPEG", quality=95, exif=exif))
    assert (image.height, image.width) == (1000, 900)
    assert image.squashed(32).shape == (32, 32)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"the film was lost", "unsupported"),
        (encoded(np.arange(1600, dtype=np.uint8).reshape(40, 40), "PNG")[:80], "truncated"),
        (encoded(np.zeros((2000, 1000), np.uint8), "PNG"), "too_large"),
    ],
    ids=["empty", "unsupported", "truncated", "too_large"],
)
def test_a_broken_file_is_one_error_that_names_the_file_and_the_kind(tmp_path, content, kind):
    path = tmp_path / "film.png"
    path.write_bytes(content)
    with pytest.raises(CxrRayError) as caught:
        load_image(path, limits=DecodeLimits(max_megapixels=1.0))
    assert str(caught.value).startswith(f"{path}: {kind}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_of_the_same_kind(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png: not_found: no object at ") as caught:
        load_image(tmp_path / "none.png")
    assert caught.value.kind == "not_found"


def test_broken_bytes_have_a_name_as_well():
    with pytest.raises(ImageError, match=r"^image in memory: unsupported: "):
        load_image(b"nothing")


def test_an_image_error_survives_the_way_to_another_process():
    error = pickle.loads(pickle.dumps(ImageError("a.png", "truncated", "the file ends early")))
    assert (str(error), error.kind) == ("a.png: truncated: the file ends early", "truncated")


def test_no_patient_and_no_pixels_are_in_its_text(grain):
    text = repr(load_image(encoded(grain, "PNG")))
    assert len(text) < 300
    assert "dicom" not in text
