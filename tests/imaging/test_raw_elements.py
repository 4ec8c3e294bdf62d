import io
import math

import pytest
from pydicom import Dataset, dcmread

from cxr_ray.imaging.raw_elements import integers, items, numbers, raw_value, several, text


def read(make_dicom, radiograph, old, new, **tags):
    data = make_dicom(radiograph, **tags)
    assert old in data
    return dcmread(io.BytesIO(data.replace(old, new)))


def test_decimal_strings_that_are_no_numbers_are_nan(make_dicom, radiograph):
    dataset = read(make_dicom, radiograph, b"2000.0\\25.5", b"\\2e3   \\NaN", WindowCenter=["2000.0", "25.5"])
    assert [number if math.isfinite(number) else None for number in numbers(dataset, "WindowCenter")] == [
        None,
        2000,
        None,
    ]
    assert numbers(dataset, "WindowWidth") == []
    assert math.isnan(numbers(read(make_dicom, radiograph, b"2000", b"Jane", WindowCenter="2000"), "WindowCenter")[0])


def test_converted_values_are_read_too():
    dataset = Dataset()
    dataset.WindowCenter, dataset.WindowWidth = [1, 2.5], 7
    assert (numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")) == ([1, 2.5], [7])


def test_integers_texts_and_items(make_dicom, radiograph):
    dataset = read(make_dicom, radiograph, b"LOG", b"LOG", VOILUTFunction="LOG", PixelPaddingValue=3)
    assert (integers(dataset, "PixelPaddingValue"), integers(dataset, "PixelPaddingRangeLimit")) == ([3], [])
    assert (text(dataset, "VOILUTFunction"), text(dataset, "PatientID")) == ("LOG", "")
    assert items(dataset, "VOILUTSequence") == items(dataset, "Rows") == []
    dataset.VOILUTSequence = [Dataset()]
    assert items(dataset, "VOILUTSequence") == [Dataset()]


def test_values_of_the_wrong_kind_count_as_absent(make_dicom, radiograph):
    dataset = read(make_dicom, radiograph, b"US\2\0\7\0", b"US\1\0\7\0", PixelPaddingValue=7)
    assert integers(dataset, "PixelPaddingValue") == []


def test_raw_values(make_dicom, radiograph):
    dataset = read(make_dicom, radiograph, b"2000", b"2000", WindowCenter="2000")
    assert (raw_value(dataset, "WindowCenter"), raw_value(dataset, "WindowWidth")) == (b"2000", None)


@pytest.mark.parametrize(("value", "values"), [(None, []), ("", []), ("ab", ["ab"]), (3, [3]), ([3, 4], [3, 4])])
def test_none_one_or_many(value, values):
    assert several(value) == values
