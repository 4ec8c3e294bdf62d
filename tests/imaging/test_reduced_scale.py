"""Images that a model takes smaller are reduced first, and the model gets almost what it would get without."""

import numpy as np
import pytest

from cxr_ray.imaging.decode import decode_for_sizes, decode_image
from cxr_ray.imaging.reduced_scale import MIN_WANTED, min_side, reduced_by_blocks, scale_reduction
from cxr_ray.imaging.resize import resize_image


@pytest.mark.parametrize(
    ("width", "height", "wanted", "reduction"),
    [(2050, 2500, 224, 4), (2500, 895, 224, 1), (896, 2500, 224, 2), (9000, 9000, 64, 8), (2047, 2500, 512, 1)],
)
def test_both_sides_stay_twice_as_large_as_wanted(width, height, wanted, reduction):
    assert scale_reduction(width, height, wanted) == reduction
    assert min(width, height) // reduction >= min_side(wanted) or reduction == 1
    assert min_side(wanted) == 2 * max(wanted, MIN_WANTED)


@pytest.mark.parametrize("shape", [(8, 12), (9, 13), (1, 7)])
def test_blocks_are_means(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    assert reduced_by_blocks(pixels, 1) is pixels
    found = reduced_by_blocks(pixels, 4)
    assert found.shape == (-(-shape[0] // 4), -(-shape[1] // 4))
    for row, column in np.ndindex(found.shape):
        block = pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert abs(found[row, column] - block.mean()) <= 1  # Pillow rounds the sum of a block at the edge down


@pytest.fixture
def broad():
    y, x = np.mgrid[:1300, :1100]
    noise = np.random.default_rng(3).normal(0, 30, y.shape)
    return (2048 + 1500 * np.sin(x / 60) * np.cos(y / 80) + noise).clip(0, 4095).astype(np.uint16)


@pytest.mark.parametrize("tags", [{"WindowCenter": 2048, "WindowWidth": 4096}, {}, {"PixelPaddingValue": 2048}])
def test_a_model_gets_what_the_full_scale_would_give_it(make_dicom, broad, tags):
    data = make_dicom(broad, BitsStored=12, **tags)
    full, reduced = decode_image(data), decode_image(data, wanted_size=224)
    assert (reduced.pixels.shape, reduced.height, reduced.width) == ((650, 550), 1300, 1100)
    difference = resize_image(full.pixels, 224).astype(int) - resize_image(reduced.pixels, 224)
    assert abs(difference).max() <= 2
    assert abs(difference).mean() < 0.3


def test_sizes_that_need_the_same_scale_share_an_image(make_dicom, broad):
    first, other, larger, whole = decode_for_sizes(make_dicom(broad, BitsStored=12), (100, 224, 512, None))
    assert first is other
    assert larger is whole
    assert whole.pixels.shape == (1300, 1100)
    assert first.pixels.shape == (650, 550)
