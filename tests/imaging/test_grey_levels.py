import numpy as np
import pytest

from cxr_ray.imaging.grey_levels import scale_occupied_bits, wide_luma


@pytest.mark.parametrize("brightest", [0, 255, 256, 1023, 4095, 16383, 65535])
def test_occupied_bits(brightest):
    samples = np.array([[0, brightest // 2, brightest]], np.uint16)
    white = 2 ** max(8, brightest.bit_length()) - 1
    np.testing.assert_array_equal(scale_occupied_bits(samples), np.rint(samples * (255 / white)))


def test_grey_in_colour_is_scaled_as_grey():
    grey = np.array([[0, 100, 2000, 4095]], np.uint16)
    expected = scale_occupied_bits(grey)
    opaque = np.full_like(grey, 65535)
    for channels in ([grey] * 3, [grey] * 3 + [opaque], [grey, opaque]):
        np.testing.assert_array_equal(wide_luma(np.stack(channels, -1)), expected)


def test_the_brightest_visible_sample_of_any_colour_decides_the_white():
    assert wide_luma(np.array([[[0, 0, 4095], [4095, 4095, 4095]]], np.uint16)).tolist() == [[29, 255]]
    hidden = np.array([[[4095] * 3 + [65535], [65535] * 3 + [0], [4095] * 3 + [32768]]], np.uint16)
    assert wide_luma(hidden).tolist() == [[255, 0, 128]]
    assert wide_luma(hidden[..., :3], (65535,) * 3).tolist() == [[255, 0, 255]]
