from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from cxr_ray.errors import StorageError
from cxr_ray.imaging.mask_rle import decode_mask, encode_mask

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


def smooth_mask(height, width):
    """Two ellipses at the position of lungs in a radiograph."""
    y, x = np.mgrid[0:height, 0:width]
    return (np.abs((x - width / 2) / width) - 0.2) ** 2 * 40 + ((y - height / 2) / height) ** 2 * 9 < 1


@given(MASKS)
def test_round_trip_and_the_counts_of_pycocotools(mask):
    counts = encode_mask(mask)
    assert isinstance(counts, str)
    decoded = decode_mask(counts, *mask.shape)
    assert decoded.dtype == np.bool_
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, mask)
    assert counts.encode() == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (7, 13)])
@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_masks(shape, value):
    mask = np.full(shape, value)
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), *shape), mask)


def test_columns_come_before_rows():
    mask = np.zeros((3, 4), bool)
    mask[:, 1] = True
    assert encode_mask(mask) == "336"  # 3 off, 3 on, 6 off
    np.testing.assert_array_equal(decode_mask("336", 3, 4), mask)
    np.testing.assert_array_equal(decode_mask("336", 6, 2), 3 * [[0, 0]] + 3 * [[1, 0]])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own array
def test_a_large_mask_is_a_short_string_that_other_tools_read():
    mask = smooth_mask(1011, 1200)
    counts = encode_mask(mask)
    assert 0.1 < mask.mean() < 0.5
    assert len(counts) < 6_000
    np.testing.assert_array_equal(decode_mask(counts, *mask.shape), mask)
    rle = {"size": list(mask.shape), "counts": counts.encode()}
    assert coco.area(rle) == mask.sum()
    np.testing.assert_array_equal(coco.decode(rle), mask)


def test_any_layout_of_the_mask_in_memory_gives_the_same_counts():
    mask = smooth_mask(40, 60)
    expected = encode_mask(mask)
    assert encode_mask(np.asfortranarray(mask)) == expected
    assert encode_mask(np.repeat(mask, 2, axis=1)[:, ::2]) == expected


@given(MASKS, st.data())
def test_a_cut_string_is_refused(mask, data):
    counts = encode_mask(mask)
    cut = counts[: data.draw(st.integers(0, len(counts) - 1))]
    # the rest may encode the whole mask, if only a run of length 0 was cut off
    if cut and not ord(cut[-1]) - 48 & 32 and (decoded_runs_sum(cut) == mask.size):
        np.testing.assert_array_equal(decode_mask(cut, *mask.shape), mask)
    else:
        with pytest.raises(StorageError, match="write the masks again"):
            decode_mask(cut, *mask.shape)


def decoded_runs_sum(counts):
    """Pixels that counts cover, read digit by digit as the C code of COCO does."""
    runs, place = [], 0
    while place < len(counts):
        number = shift = 0
        more = True
        while more:
            digit = ord(counts[place]) - 48
            number |= (digit & 31) << shift
            more, shift, place = digit & 32, shift + 5, place + 1
        if digit & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
    return sum(runs)


@given(st.text(max_size=30))
def test_no_text_raises_anything_but_the_error_of_the_project(text):
    with suppress(StorageError):
        mask = decode_mask(text, 5, 7)
        np.testing.assert_array_equal(decode_mask(encode_mask(mask), 5, 7), mask)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("", "mask_counts '' of a 2 x 3 mask are not COCO run lengths; write the masks again"),
        ("5", "mask_counts '5' of a 2 x 3 mask cover 5 pixels"),
        ("7", "cover 7 pixels"),
        ("V", "are not COCO run lengths"),  # a digit whose flag says that another one follows
        ("O7", "are not COCO run lengths"),  # runs of -1 and 7 pixels
        ("6\n", "are not COCO run lengths"),
        ("6é", "are not COCO run lengths"),
        ("o" * 40 + "0", "mask_counts 'oooooooooooooooooooooooo'... of a 2 x 3 mask are not COCO"),
    ],
)
def test_bad_counts_are_named(counts, message):
    with pytest.raises(StorageError, match=message) as caught:
        decode_mask(counts, 2, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mask", [np.zeros((2, 3), np.uint8), np.zeros((1, 2, 3), bool)])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(ValueError, match=r"mask must be bool \[H, W\]; got"):
        encode_mask(mask)
