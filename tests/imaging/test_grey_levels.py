import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.imaging.grey_levels import WORDS, looked_up, scale_occupied_bits, wide_luma


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


@given(st.sampled_from([np.uint8, np.uint16]), st.integers(0, 2**32 - 1))
def test_each_sample_becomes_its_entry(dtype, seed):
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, 256 ** np.dtype(dtype).itemsize, rng.integers(1, 40, 2)).astype(dtype)
    table = rng.integers(0, 256, WORDS).astype(np.uint8)
    for view in (samples, samples.T, samples[::2, ::-1]):
        found = looked_up(view, table)
        np.testing.assert_array_equal(found, table[view])
        assert found.flags.writeable


@pytest.mark.parametrize(("dtype", "entries"), [(np.int16, WORDS), (np.uint32, WORDS), (np.uint16, WORDS - 1)])
def test_a_table_that_is_too_short_for_its_samples_is_refused(dtype, entries):
    with pytest.raises(ValueError, match=rf"table \[65536\]; got {np.dtype(dtype)}, \({entries},\)"):
        looked_up(np.zeros((2, 2), dtype), np.zeros(entries, np.uint8))
