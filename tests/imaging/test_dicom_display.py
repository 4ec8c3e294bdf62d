import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from cxr_ray.imaging.dicom_display import display_table, to_display
from cxr_ray.imaging.display_attributes import read_display_attributes
from cxr_ray.imaging.limits import ImageRefused


def grey(**tags):
    dataset = Dataset()
    defaults = {"PhotometricInterpretation": "MONOCHROME2", "BitsStored": 12, "PixelRepresentation": 0}
    for keyword, value in (defaults | tags).items():
        setattr(dataset, keyword, value)
    return dataset


def lut(entries, first, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "US", list(entries))
    return item


def shown(values, dataset, dtype=np.uint16):
    return to_display(np.array([values], dtype), dataset)[0].tolist()


def test_without_a_window_the_range_of_the_pixels_is_shown():
    assert shown([100, 200, 300], grey()) == [0, 128, 255]
    assert shown([-100, 0, 100], grey(PixelRepresentation=1), np.int16) == [0, 128, 255]
    assert shown([-32768, 0, 32767], grey(PixelRepresentation=1, BitsStored=16), np.int16) == [0, 128, 255]


def test_monochrome1_is_inverted():
    assert shown([100, 200, 300], grey(PhotometricInterpretation="MONOCHROME1")) == [255, 128, 0]


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_a_constant_image_becomes_zeros(interpretation):
    assert shown([7, 7, 7], grey(PhotometricInterpretation=interpretation)) == [0, 0, 0]


def test_the_linear_window_of_the_standard():
    # PS3.3 C.11.2.1.2.1: for c=2048, w=4096 the output starts at 0 and reaches its maximum at 4095.
    dataset = grey(WindowCenter=2048, WindowWidth=4096)
    assert shown([0, 1, 2047, 2048, 4095], dataset) == [0, 0, 127, 128, 255]
    narrow = grey(WindowCenter=1000.5, WindowWidth=101)
    assert shown([0, 950, 1000, 1050, 4000], narrow) == [0, 0, 128, 255, 255]


def test_the_exact_linear_window_of_the_standard():
    dataset = grey(WindowCenter=1000, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    assert shown([900, 950, 975, 1000, 1050, 1100], dataset) == [0, 0, 64, 128, 255, 255]


def test_the_sigmoid_of_the_standard():
    dataset = grey(WindowCenter=1000, WindowWidth=100, VOILUTFunction="SIGMOID")
    expected = [round(255 / (1 + np.exp(-4 * (x - 1000) / 100))) for x in (0, 950, 1000, 1050, 4000)]
    assert shown([0, 950, 1000, 1050, 4000], dataset) == expected


def test_the_first_of_several_windows_counts():
    dataset = grey(WindowCenter=[1000.5, 0], WindowWidth=[101, 10])
    assert shown([950, 1000, 1050], dataset) == [0, 128, 255]


@pytest.mark.parametrize("slope", [2, -2])
def test_rescale_comes_before_the_window(slope):
    intercept = -100 if slope > 0 else 100
    dataset = grey(RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=0.5, WindowWidth=201)
    assert shown([0, 50, 100], dataset) == ([0, 128, 255] if slope > 0 else [255, 128, 0])


def test_rescale_with_a_negative_slope_inverts_the_range():
    assert shown([0, 50, 100], grey(RescaleSlope=-1, RescaleIntercept=0)) == [255, 128, 0]


def test_the_modality_lut_comes_first():
    dataset = grey(ModalityLUTSequence=[lut([0, 10, 1000], 5, 16)])
    assert shown([0, 5, 6, 7, 8], dataset) == [0, 0, 3, 255, 255]


def test_a_voi_lut_is_preferred_to_a_window_and_fills_the_grey_scale():
    dataset = grey(VOILUTSequence=[lut([100, 300, 1123], 10, 12)], WindowCenter=5, WindowWidth=2)
    assert shown([0, 10, 11, 12, 4000], dataset) == [0, 0, 50, 255, 255]


def test_a_descending_voi_lut_stays_descending():
    assert shown([0, 1, 2], grey(VOILUTSequence=[lut([4095, 2048, 0], 0, 12)])) == [255, 128, 0]


def test_a_voi_lut_after_a_rescale_to_negative_numbers():
    tags = {"RescaleSlope": 1, "RescaleIntercept": -10, "VOILUTSequence": [lut([0, 2000, 4000], -10, 12)]}
    assert shown([0, 1, 2, 60_000], grey(**tags)) == [0, 128, 255, 255]


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 100, "WindowWidth": 5, "VOILUTFunction": "LOG"},
        {"WindowCenter": 100},
        {"WindowCenter": None, "WindowWidth": None},
        {"VOILUTSequence": []},
    ],
)
def test_a_window_that_the_standard_does_not_define_is_ignored(window):
    assert shown([100, 200, 300], grey(**window)) == [0, 128, 255]


@pytest.mark.parametrize(
    ("interpretation", "expected"), [("MONOCHROME1", [0, 255, 128, 0]), ("MONOCHROME2", [0, 0, 128, 255])]
)
def test_padding_is_left_out_of_the_range_and_becomes_background(interpretation, expected):
    dataset = grey(PhotometricInterpretation=interpretation, PixelPaddingValue=4095)
    assert shown([4095, 100, 200, 300], dataset) == expected


def test_padding_ranges_windows_and_nothing_else():
    assert shown([1, 3, 5, 100, 200], grey(PixelPaddingValue=5, PixelPaddingRangeLimit=1)) == [
        0,
        0,
        0,
        0,
        255,
    ]
    windowed = grey(PixelPaddingValue=300, WindowCenter=200.5, WindowWidth=201)
    assert shown([100, 200, 300], windowed) == [0, 128, 0]
    assert shown([9, 9], grey(PixelPaddingValue=9)) == [0, 0]


def test_colour_is_luma_without_a_window():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    dataset = grey(PhotometricInterpretation="RGB", BitsStored=8, WindowCenter=1, WindowWidth=1)
    assert to_display(colours, dataset).tolist() == [[76, 150, 29, 255]]
    dataset.BitsStored = 12
    assert to_display(np.full((1, 1, 3), 4095, np.uint16), dataset).tolist() == [[255]]


def test_a_palette_is_looked_up():
    dataset = grey(PhotometricInterpretation="PALETTE COLOR", BitsStored=8)
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = (np.arange(256)[::-1] * 257).astype("<u2").tobytes()
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table)
    assert to_display(np.array([[0, 100, 255]], np.uint8), dataset).tolist() == [[255, 155, 0]]


def test_a_segmented_palette_is_refused():
    dataset = grey(PhotometricInterpretation="PALETTE COLOR", SegmentedRedPaletteColorLookupTableData=b"\0\0")
    with pytest.raises(ImageRefused, match="segmented palettes are not supported"):
        to_display(np.zeros((2, 2), np.uint8), dataset)


def test_a_rescale_without_numbers_is_refused():
    with pytest.raises(ImageRefused, match="rescale slope or intercept is not a finite number"):
        shown([1, 2], grey(RescaleSlope=float("inf"), RescaleIntercept=0))


SHOWN_BY = st.sampled_from(
    [
        {},
        {"WindowCenter": 700, "WindowWidth": 900},
        {"WindowCenter": 40, "WindowWidth": 33.3, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": -40.5, "WindowWidth": 1, "VOILUTFunction": "LINEAR_EXACT"},
        {"VOILUTSequence": [lut([9, 100, 3, 4000], 120, 12)]},
    ]
)
RESCALED_BY = st.sampled_from(
    [
        {},
        {"RescaleSlope": 1.7, "RescaleIntercept": -300},
        {"RescaleSlope": -0.3, "RescaleIntercept": 12},
        {"ModalityLUTSequence": [lut([5, 900, 2, 40], 10, 16)]},
    ]
)
PADDED_BY = st.sampled_from([{}, {"PixelPaddingValue": 0}, {"PixelPaddingValue": 90, "PixelPaddingRangeLimit": 130}])


@given(
    dtype=st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]),
    span=st.integers(1, 2**16),
    tags=st.tuples(SHOWN_BY, RESCALED_BY, PADDED_BY, st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_pixel_is_shown_by_the_formulas_of_its_value(dtype, span, tags, seed):
    rng, limits = np.random.default_rng(seed), np.iinfo(dtype)
    lowest = int(rng.integers(limits.min, limits.max, endpoint=True))
    highest = min(lowest + span, limits.max)
    stored = rng.integers(lowest, highest, rng.integers(1, 30, 2), endpoint=True).astype(dtype)
    shown_by, rescaled_by, padded_by, photometric = tags
    dataset = grey(
        PhotometricInterpretation=photometric,
        PixelRepresentation=int(limits.min < 0),
        **shown_by,
        **rescaled_by,
        **padded_by,
    )
    values, places = np.unique(stored.astype(np.int64), return_inverse=True)
    table = display_table(values, np.ones(values.shape, bool), read_display_attributes(dataset))
    found = to_display(stored, dataset)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, table[places].reshape(stored.shape))
