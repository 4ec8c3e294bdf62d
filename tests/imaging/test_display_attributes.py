import numpy as np
import pytest
from pydicom import Dataset

from cxr_ray.imaging.decode import decode_image
from cxr_ray.imaging.display_attributes import DisplayAttributes, Window, read_display_attributes
from cxr_ray.imaging.limits import ImageRefused


def dataset(**tags):
    made = Dataset()
    for keyword, value in ({"PixelRepresentation": 0} | tags).items():
        setattr(made, keyword, value)
    return made


def table(entries, first=0, bits=12):
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return item


def read(**tags):
    return read_display_attributes(dataset(**tags))


def test_nothing_there_is_nothing_to_apply():
    assert read() == DisplayAttributes()


@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": 0, "RescaleIntercept": 5},
        {"RescaleSlope": 2},
        {"WindowCenter": [], "WindowWidth": []},
        {"WindowCenter": "5", "WindowWidth": "0.5"},
        {"WindowCenter": "5", "WindowWidth": "0", "VOILUTFunction": "SIGMOID"},
        {"VOILUTSequence": [Dataset()]},
        {"VOILUTSequence": [table([])]},
        {"VOILUTSequence": [table([7, 7, 7])]},
        {"ModalityLUTSequence": [table([])]},
    ],
)
def test_what_cannot_be_used_is_absent(tags):
    assert read(**tags) == DisplayAttributes()


def test_the_first_usable_window_counts():
    assert read(WindowCenter=[5, 2000], WindowWidth=[0, 2500]).window == Window(
        centre=2000, width=2500, function="LINEAR"
    )


def test_a_modality_table_replaces_the_rescale():
    attributes = read(ModalityLUTSequence=[table([0, 9])], RescaleSlope=0.01, RescaleIntercept=float("nan"))
    assert (attributes.rescale, attributes.modality_table.entries.tolist()) == (None, [0, 9])


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_rescale_that_is_not_finite_is_refused(value):
    with pytest.raises(ImageRefused, match="rescale slope or intercept is not a finite number"):
        read(RescaleSlope=1, RescaleIntercept=value)


def test_the_groups_of_the_frame_come_before_those_of_all_frames_and_the_root():
    own = dataset(FrameVOILUTSequence=[dataset(WindowCenter=3, WindowWidth=30)])
    shared = dataset(
        FrameVOILUTSequence=[dataset(WindowCenter=2, WindowWidth=20)],
        PixelValueTransformationSequence=[dataset(RescaleSlope=4, RescaleIntercept=-7)],
    )
    tags = {"WindowCenter": 1, "WindowWidth": 10}
    assert read(**tags).window.centre == 1
    tags["SharedFunctionalGroupsSequence"] = [shared]
    assert (read(**tags).window.centre, read(**tags).rescale) == (2, (4, -7))
    tags["PerFrameFunctionalGroupsSequence"] = [own]
    assert (read(**tags).window.centre, read(**tags).rescale) == (3, (4, -7))


@pytest.mark.parametrize(
    ("tags", "first"), [({}, 64512), ({"RescaleIntercept": -1024, "RescaleSlope": 1}, -1024), ({"PixelRepresentation": 1}, -1024)]
)  # fmt: skip
def test_the_sign_of_a_voi_tables_first_input_follows_its_inputs(tags, first):
    assert read(VOILUTSequence=[table([1, 2], first=64512)], **tags).voi_table.first == first


def test_padding_has_the_sign_of_the_pixels():
    assert read(PixelPaddingValue=63536, PixelRepresentation=1).padding == (-2000, -2000)
    assert read(PixelPaddingValue=63536, PixelPaddingRangeLimit=7).padding == (7, 63536)


def test_a_voi_table_is_applied_from_its_first_input_in_implicit_vr(make_dicom, ramp12):
    entries = np.arange(4096)[::-1]
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "VOILUTSequence": [table(entries, first=64512)]}
    data = make_dicom(ramp12, syntax="1.2.840.10008.1.2", BitsStored=12, **tags)
    np.testing.assert_array_equal(decode_image(data).pixels, np.rint((4095 - ramp12) / 4095 * 255))


def test_a_file_whose_window_cannot_be_used_shows_the_range(make_dicom, ramp12):
    data = make_dicom(ramp12, BitsStored=12, WindowCenter=["2000"] * 2, WindowWidth=["2500"] * 2)
    data = data.replace(b"2000\\2000 ", b"  \\NaN    ").replace(b"2500\\2500 ", b"\\    2500 ")
    np.testing.assert_array_equal(decode_image(data).pixels, np.rint(ramp12 / 4095 * 255))
