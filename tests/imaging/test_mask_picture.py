import io

import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging.decode import decode_image
from cxr_ray.imaging.mask_picture import mask_of_picture


def disc():
    rows, columns = np.mgrid[:96, :96]
    return (rows - 40) ** 2 + (columns - 50) ** 2 < 900


def picture(pixels, name, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **options)
    return decode_image(buffer.getvalue())


@pytest.mark.parametrize("white", [1, 2, 255])
def test_all_that_is_not_black_is_covered(white):
    np.testing.assert_array_equal(mask_of_picture(picture(disc() * np.uint8(white), "PNG")), disc())


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_what_rings_around_a_jpeg_is_not(quality):
    image = picture(disc() * np.uint8(255), "JPEG", quality=quality)
    assert ((image.pixels > 0) != disc()).sum() > 50, "it rings"
    assert (mask_of_picture(image) != disc()).sum() <= 5


def test_lungs_of_two_shades_are_both_covered():
    lungs = np.zeros((96, 96), np.uint8)
    lungs[20:80, 10:40], lungs[20:80, 56:86] = 100, 255
    assert (mask_of_picture(picture(lungs, "JPEG", quality=90)) != (lungs > 0)).sum() <= 10


def test_a_black_jpeg_covers_nothing():
    assert not mask_of_picture(picture(np.zeros((16, 16), np.uint8), "JPEG")).any()


def test_what_cannot_be_read_is_no_mask():
    with pytest.raises(ValueError, match=r"a picture without pixels \(empty\) cannot be a mask"):
        mask_of_picture(decode_image(b""))
