import numpy as np
import pytest

from cxr_ray.imaging.grey_levels import scale_occupied_bits


@pytest.mark.parametrize("brightest", [0, 255, 256, 1023, 4095, 16383, 65535])
def test_occupied_bits(brightest):
    samples = np.array([[0, brightest // 2, brightest]], np.uint16)
    white = 2 ** max(8, brightest.bit_length()) - 1
    np.testing.assert_array_equal(scale_occupied_bits(samples), np.rint(samples * (255 / white)))
