"""Run lengths of masks, and those of a map that is enlarged, which are the ones of the enlarged mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cxr_ray.imaging.mask_rle import decode_mask, encode_mask
from cxr_ray.imaging.mask_runs import resized_runs, runs_of, transposed
from cxr_ray.imaging.resize import resize_to

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


def same(runs, mask):
    height, width = mask.shape
    assert (runs.height, runs.width) == (height, width)
    assert runs.counts == encode_mask(mask)
    assert runs.lengths.min(initial=1) >= 0
    assert (runs.lengths[1:] > 0).all()
    assert runs.area_fraction == np.count_nonzero(mask) / mask.size
    found = runs.to_mask()
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_array_equal(decode_mask(runs.counts, height, width), mask)


@given(MASKS)
def test_the_runs_of_a_mask(mask):
    same(runs_of(mask), mask)


@settings(max_examples=400)
@given(
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    levels=st.sampled_from([2, 3, 256]),
    threshold=st.sampled_from([0, 76.5, 127, 127.5, 128, 254.99]),
    seed=st.integers(0, 2**32 - 1),
)
def test_runs_of_an_enlarged_map_are_those_of_its_pixels(shape, size, levels, threshold, seed):
    rng = np.random.default_rng(seed)
    shades = (rng.integers(0, levels, shape) * (255 // (levels - 1))).astype(np.uint8)
    if rng.random() < 0.5:  # values next to the threshold, where rounding decides
        shades = (int(threshold) + rng.integers(-2, 3, shape)).clip(0, 255).astype(np.uint8)
    same(resized_runs(shades, *size, threshold), resize_to(shades, *size) > threshold)


@pytest.mark.parametrize(
    "size", [(2500, 2048), (255, 256), (256, 256), (257, 300), (512, 512), (1009, 2011), (4280, 99)]
)
@pytest.mark.parametrize("noise", [0, 4, 255])
def test_runs_of_lungs_at_the_size_of_radiographs(size, noise):
    y, x = np.mgrid[:256, :256] / 256
    lungs = np.maximum(1 - ((x - 0.3) / 0.17) ** 2, 1 - ((x - 0.7) / 0.16) ** 2) - ((y - 0.5) / 0.35) ** 2
    shades = 127.5 + 900 * lungs + noise * np.random.default_rng(2).normal(0, 1, lungs.shape)
    shades = shades.clip(0, 255).astype(np.uint8)
    same(resized_runs(shades, *size, 127.5), resize_to(shades, *size) > 127.5)


@pytest.mark.parametrize("value", [0, 127, 128, 255])
@pytest.mark.parametrize("size", [(1, 1), (9, 5), (3, 4)])
def test_a_map_of_one_value_is_all_or_nothing(value, size):
    shades = np.full((4, 3), value, np.uint8)
    same(resized_runs(shades, *size, 127.5), np.full(size, value > 127.5))


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_transposed_has_its_own_memory(dtype):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4).astype(dtype)
    for view in (pixels, pixels[:, ::-1], pixels.T):
        turned = transposed(view)
        assert turned.dtype == dtype
        assert turned.flags.c_contiguous
        np.testing.assert_array_equal(turned, view.T)
