import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging.resize import resize_image, resize_to, size_within


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [1, 32, 200])
def test_equals_pillow(radiograph, interpolation, size):
    expected = Image.fromarray(radiograph).resize((size, size), Image.Resampling[interpolation.upper()])
    resized = resize_image(radiograph, size, interpolation)
    assert resized.dtype == np.uint8
    assert resized.flags.writeable
    np.testing.assert_array_equal(resized, expected)


def test_a_checkerboard_becomes_grey_and_does_not_alias():
    checkerboard = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    assert abs(resize_image(checkerboard, 16).astype(int) - 127).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "size", "interpolation", "message"),
    [
        (np.zeros((4, 4), np.float32), 2, "bilinear", r"uint8 \[H, W\]; got float32 \[4, 4\]"),
        (np.zeros((4, 4, 3), np.uint8), 2, "bilinear", r"got uint8 \[4, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), 0, "bilinear", "size must be >= 1; got 0"),
        (np.zeros((4, 4), np.uint8), 2, "nearest", "bilinear, bicubic, lanczos; got 'nearest'"),
    ],
)
def test_bad_arguments_are_named(pixels, size, interpolation, message):
    with pytest.raises(ValueError, match=message):
        resize_image(pixels, size, interpolation)


def test_height_comes_before_width(radiograph):
    resized = resize_to(radiograph, 10, 30)
    np.testing.assert_array_equal(resized, Image.fromarray(radiograph).resize((30, 10), Image.Resampling.BILINEAR))
    with pytest.raises(ValueError, match="size must be >= 1; got 0"):
        resize_to(radiograph, 10, 0)


@pytest.mark.parametrize(
    ("height", "width", "longest", "expected"),
    [
        (2000, 1000, 1024, (1024, 512)),
        (1000, 2000, 1024, (512, 1024)),
        (600, 1025, 1024, (599, 1024)),
        (300, 200, 1024, (300, 200)),  # never enlarged
        (5000, 1, 1024, (1024, 1)),
        (1, 5000, 1024, (1, 1024)),
    ],
)
def test_an_image_within_a_longest_side_keeps_its_proportions(height, width, longest, expected):
    assert size_within(height, width, longest) == expected
